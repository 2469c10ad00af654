"""Columns and chunks hold the text: nothing lost, nothing twice, in order, on every rank."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from throughtime import config
from throughtime.data import tokenizer
from throughtime.data.batch import IGNORED
from throughtime.data.stream import ChunkLoader, open_stream, write_stream
from throughtime.data.tokenizer import BOS


def columns(loader: ChunkLoader) -> tuple[torch.Tensor, torch.Tensor]:
    chunks = list(loader)
    assert len(chunks) == len(loader)
    assert [chunk.first for chunk in chunks] == [place == 0 for place in range(len(chunks))]
    return torch.cat([chunk.tokens for chunk in chunks], dim=1), torch.cat([chunk.targets for chunk in chunks], dim=1)


@pytest.mark.parametrize(("length", "count", "chunk"), [*product((24, 25, 31), (1, 4), (1, 5, 6, None)), (4, 4, 3)])
def test_every_token_is_a_target_once_and_follows_its_input(length: int, count: int, chunk: int | None) -> None:
    text = np.arange(10, 10 + length, dtype=np.uint16)
    tokens, targets = columns(ChunkLoader(text, count, chunk))
    counted = targets[targets != IGNORED]
    assert counted.tolist() == text.tolist()
    before = torch.where(targets == 10, BOS, targets - 1)
    assert torch.equal(tokens[targets != IGNORED], before[targets != IGNORED])


def test_ranks_share_the_columns_of_one_process() -> None:
    text = np.arange(101, dtype=np.uint16)
    whole, _ = columns(ChunkLoader(text, 6, 4))
    parts = [columns(ChunkLoader(text, 2, 4, rank, 3))[0] for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_a_restored_loader_goes_on_where_it_was(done: int) -> None:
    text = np.arange(60, dtype=np.uint16)
    loader, fresh = ChunkLoader(text, 3, 4), ChunkLoader(text, 3, 4)
    chunks = iter(loader)
    for _ in range(done):
        next(chunks)
    fresh.load_state_dict(loader.state_dict())
    expected = list(chunks) or list(loader)
    assert [chunk.tokens.tolist() for chunk in fresh] == [chunk.tokens.tolist() for chunk in expected]


def test_the_array_on_disk_is_the_text(tmp_path: Path) -> None:
    rows = [{"text": f"piece {place} of a text\n"} for place in range(200)]
    found = tokenizer.fit(config.PlainTokenizer("char", False, False), (row["text"] for row in rows))
    facts = write_stream(rows, found, tmp_path / "text.bin")
    text = "".join(row["text"] for row in rows)
    array = open_stream(tmp_path / "text.bin", found.size)
    assert array.dtype == np.uint16
    assert found.decode(array.tolist()) == text
    assert (facts["tokens"], facts["characters"]) == (len(text), len(text))


def test_more_columns_than_tokens_are_refused() -> None:
    with pytest.raises(config.Mistake, match="batch.columns=8: allowed is at most the 7 tokens"):
        ChunkLoader(np.arange(7, dtype=np.uint16), 8, 2)
