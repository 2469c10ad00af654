"""Columns and chunks hold the text: nothing lost, nothing twice, in order, on every rank."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from throughtime import config
from throughtime.data import tokenizer
from throughtime.data.batch import IGNORED
from throughtime.data.cuts import cuts
from throughtime.data.stream import ChunkLoader, open_documents, open_stream, write_stream
from throughtime.data.tokenizer import BOS, EOS

OFF = config.FullBptt("off")
CHOICES = {
    "off": OFF,
    "one step": config.FixedChunks("fixed", 1),
    "fixed": config.FixedChunks("fixed", 5),
    "jittered": config.JitteredChunks("jittered", 8),
    "windows": config.Windows("windows", 3, 7),
    "long windows": config.Windows("windows", 2, 9),
    "checkpointed": config.CheckpointedBptt("checkpointed", None),
}


def columns(loader: ChunkLoader) -> tuple[torch.Tensor, torch.Tensor]:
    """The inputs that are scored and their targets, (columns, time), behind one another as a model meets them."""
    chunks = list(loader)
    assert len(chunks) == len(loader)
    tokens = [chunk.tokens[:, -chunk.targets.shape[1] :] for chunk in chunks]
    return torch.cat(tokens, dim=1), torch.cat([chunk.targets for chunk in chunks], dim=1)


@pytest.mark.parametrize(
    ("length", "count", "choice", "offset"), [*product((24, 25, 31, 200), (1, 4), CHOICES, (False, True))]
)
def test_every_token_is_a_target_once_and_follows_its_input(length: int, count: int, choice: str, offset: bool) -> None:
    text = np.arange(10, 10 + length, dtype=np.uint16)
    loader, begun = ChunkLoader(text, count, CHOICES[choice], offset=offset, seed=3), set()
    for _ in range(3):
        tokens, targets = columns(loader)
        counted = targets[targets != IGNORED]
        begun.add(int(counted[0]))
        assert sorted(counted.tolist()) == text.tolist()
        assert torch.equal(counted.diff() % length, torch.ones(length - 1, dtype=torch.long))
        before = torch.where(targets == 10, BOS, targets - 1)
        assert torch.equal(tokens[targets != IGNORED], before[targets != IGNORED])
    assert (len(begun) > 1) == offset


@pytest.mark.parametrize("choice", CHOICES)
def test_the_steps_read_before_the_scored_ones_are_read_from_the_carried_state(choice: str) -> None:
    """Each chunk begins where the state carried from the one before has come to."""
    tbptt = CHOICES[choice]
    loader, begin, scored = ChunkLoader(np.arange(10, 110, dtype=np.uint16), 2, tbptt), 0, 0
    whole, _ = columns(loader)
    for chunk in loader:
        steps, new = chunk.tokens.shape[1], chunk.targets.shape[1]
        assert torch.equal(chunk.tokens, whole[:, begin : begin + steps])
        assert chunk.first == (begin == 0)
        assert begin + steps - new == scored
        if isinstance(tbptt, config.Windows):
            assert steps == min(tbptt.window, scored + new)
        begin, scored = begin + chunk.onward, scored + new
    assert scored == whole.shape[1]


@pytest.mark.parametrize(("base", "height"), product((5, 16, 70), (1, 4, 6, 17, 50, 400, 5000)))
def test_jittered_chunks_cover_the_columns_in_the_papers_lengths(base: int, height: int) -> None:
    counts, lengths = set(), []
    for epoch in range(20):
        begins, ends = cuts(config.JitteredChunks("jittered", base), height, 1, epoch)
        assert (begins[0], ends[-1]) == (0, height)
        assert np.array_equal(begins[1:], ends[:-1])
        assert (ends > begins).all()
        counts.add(len(ends))
        lengths += [*(ends - begins)]
    assert len(counts) == 1
    if height == 5000 and base == 70:
        found = np.array(lengths)
        assert 65 < np.median(found) < 75
        assert 0.02 < (found < 50).mean() < 0.09  # half the base, once in twenty
        assert 3.5 < found[found > 50].std() < 6.5


def test_documents_begin_with_bos_and_if_asked_a_fresh_state() -> None:
    text, documents = np.arange(10, 40, dtype=np.uint16), np.array([0, 3, 4, 20])
    for choice, offset, reset in product(CHOICES, (False, True), (False, True)):
        anew = []
        for chunk in ChunkLoader(text, 2, CHOICES[choice], documents=documents, offset=offset, reset=reset):
            new = chunk.targets.shape[1]
            resets = torch.zeros_like(chunk.tokens, dtype=torch.bool) if chunk.resets is None else chunk.resets
            here = torch.isin(chunk.targets - 10, torch.from_numpy(documents))
            assert torch.equal(chunk.tokens[:, -new:] == BOS, here)
            assert torch.equal((chunk.tokens[:, chunk.first :] == BOS) & reset, resets[:, chunk.first :])
            anew += chunk.targets[here].tolist()
        assert sorted(anew) == [10, 13, 14, 30]


def test_without_documents_only_the_texts_beginning_is_one() -> None:
    loader = ChunkLoader(np.arange(10, 40, dtype=np.uint16), 3, CHOICES["fixed"], offset=True)
    begun = sum(int((chunk.tokens == BOS).sum()) for chunk in loader)
    assert begun == 1


@pytest.mark.parametrize("choice", CHOICES)
def test_ranks_share_the_columns_of_one_process(choice: str) -> None:
    text, turned = np.arange(101, dtype=np.uint16), {"offset": True, "seed": 5}
    whole, _ = columns(ChunkLoader(text, 6, CHOICES[choice], **turned))
    parts = [columns(ChunkLoader(text, 2, CHOICES[choice], rank, 3, **turned))[0] for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(("choice", "done"), product(["fixed", "jittered", "windows"], [0, 1, 2, 5]))
def test_a_restored_loader_goes_on_where_it_was(choice: str, done: int) -> None:
    text = np.arange(60, dtype=np.uint16)
    loader, fresh = (ChunkLoader(text, 3, CHOICES[choice], offset=True) for _ in range(2))
    list(loader)
    chunks = iter(loader)
    for _ in range(min(done, len(loader))):
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
    assert (facts["tokens"], facts["characters"], facts["documents"]) == (len(text) + 200, len(text), 200)
    places = open_documents(tmp_path / "text.bin")
    for row, begin, end in zip(rows, places, [*places[1:], len(array)], strict=True):
        assert array[begin:end].tolist() == [*found.encode(row["text"]), EOS]


def test_the_digest_tells_where_documents_end(tmp_path: Path) -> None:
    found = tokenizer.fit(config.PlainTokenizer("byte", False, False), [])
    parts = [["ab", "c"], ["a", "bc"], ["abc"]]
    written = [write_stream([{"text": text} for text in texts], found, tmp_path / "text.bin") for texts in parts]
    assert len({facts["sha256"] for facts in written}) == 3


def test_empty_documents_begin_nowhere(tmp_path: Path) -> None:
    rows = [{"text": text} for text in ("", "ab", "", "c", "", "")] + [{"text": "d", "begins": False}]
    found = tokenizer.fit(config.PlainTokenizer("byte", False, False), ["abcd"])
    write_stream(rows, found, tmp_path / "text.bin")
    assert open_documents(tmp_path / "text.bin").tolist() == [0, 3, 5]
    array = open_stream(tmp_path / "text.bin", found.size)
    assert np.flatnonzero(array == EOS).tolist() == [2, 4, 6]


def test_more_columns_than_tokens_are_refused() -> None:
    with pytest.raises(config.Mistake, match="batch.columns=8: allowed is at most the 7 tokens"):
        ChunkLoader(np.arange(7, dtype=np.uint16), 8, OFF)
