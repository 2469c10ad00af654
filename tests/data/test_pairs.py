"""Buckets hold every pair once under the budget, mix anew each epoch, and share out evenly."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from throughtime.data import tokenizer
from throughtime.data.batch import IGNORED, PairBatch
from throughtime.data.pairs import WIDTH, PairLoader, cut, open_pairs, write_pairs
from throughtime.data.tokenizer import BOS, EOS, PAD

COUNT, BUDGET = 300, 120


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    draw = random.Random(5)
    words = [[f"{row:03}" + "a" * draw.randint(0, 15), "cd" * draw.randint(0, 9)] for row in range(COUNT)]
    rows = Dataset.from_dict({"source": [w[0] for w in words], "target": [w[1] for w in words]})
    byte = tokenizer.ByteTokenizer()
    folder: Path = tmp_path_factory.mktemp("pairs") / "train"
    facts = write_pairs(rows, {"source": byte, "target": byte}, folder)
    assert facts["pairs"] == COUNT
    assert facts["source_tokens"] == sum(len(source) for source, _ in words)
    return open_pairs(folder)


def rows(batch: PairBatch) -> list[int]:
    """The places of a batch's pairs in the corpus, with which their sources begin."""
    return [int(tokenizer.ByteTokenizer().decode(source[:3])) for source in batch.source.tolist()]


def rows_of(loader: PairLoader) -> list[list[int]]:
    return [rows(batch) for batch in loader]


@pytest.mark.parametrize("seed", [None, 7])
def test_every_pair_once_within_the_budget(pairs: Dataset, seed: int | None) -> None:
    loader = PairLoader(pairs, BUDGET, seed=seed)
    seen = []
    for batch in loader:
        assert batch.source.numel() + batch.targets.numel() <= BUDGET
        assert batch.source.shape[1] == batch.source_lengths.max()
        seen += rows(batch)
        for row, source, tokens, targets in zip(rows(batch), batch.source, batch.tokens, batch.targets, strict=True):
            assert [id for id in source.tolist() if id != PAD] == [*pairs[row]["source_ids"], EOS]
            assert [id for id in tokens.tolist() if id != PAD] == [BOS, *pairs[row]["target_ids"]]
            assert [id for id in targets.tolist() if id != IGNORED] == [*pairs[row]["target_ids"], EOS]
    assert sorted(seen) == list(range(COUNT))


def test_epochs_differ_in_order_and_agree_in_number(pairs: Dataset) -> None:
    loader = PairLoader(pairs, BUDGET, seed=7)
    first, second = rows_of(loader), rows_of(loader)
    assert first != second
    assert len(first) == len(second) == len(loader)
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    assert rows_of(PairLoader(pairs, BUDGET, seed=7)) == first


def test_ranks_have_equally_many_batches_and_nothing_twice(pairs: Dataset) -> None:
    parts = [rows_of(PairLoader(pairs, BUDGET, seed=7, rank=rank, world=3)) for rank in range(3)]
    assert len({len(part) for part in parts}) == 1
    everything = [row for part in parts for batch in part for row in batch]
    assert len(everything) == len(set(everything))
    evaluated = [rows_of(PairLoader(pairs, BUDGET, rank=rank, world=3)) for rank in range(3)]
    assert sorted(row for part in evaluated for batch in part for row in batch) == list(range(COUNT))


def test_a_restored_loader_goes_on_in_its_epoch(pairs: Dataset) -> None:
    loader, fresh = PairLoader(pairs, BUDGET, seed=7), PairLoader(pairs, BUDGET, seed=7)
    rows_of(loader)
    batches = iter(loader)
    next(batches)
    fresh.load_state_dict(loader.state_dict())
    rest = [rows(batch) for batch in batches]
    assert rows_of(fresh) == rest
    assert rows_of(fresh) == rows_of(loader)


def test_only_training_leaves_out_long_pairs(pairs: Dataset) -> None:
    kept = [row for batch in rows_of(PairLoader(pairs, BUDGET, longest=8, seed=1)) for row in batch]
    assert sorted(kept) == [
        row for row in range(COUNT) if max(pairs[row]["source_length"], pairs[row]["target_length"]) <= 8
    ]
    assert 0 < len(kept) < COUNT
    assert PairLoader(pairs, BUDGET, longest=8, seed=1).left_out == COUNT - len(kept)
    assert PairLoader(pairs, BUDGET).left_out == 0


def test_a_pair_beyond_the_budget_stands_alone(pairs: Dataset) -> None:
    assert all(len(batch) == 1 for batch in rows_of(PairLoader(pairs, 1)))


@pytest.mark.parametrize("budget", [1, 16, 120, 121, 10_000])
def test_a_batch_ends_where_the_next_pair_would_be_too_much(budget: int) -> None:
    lengths = np.random.default_rng(3).integers(1, 12, (400, 2)) * WIDTH
    ends = [0, *cut(lengths, budget), len(lengths)]
    for start, stop in pairwise(ends):
        tokens = [lengths[start:end].max(axis=0).sum() * (end - start) for end in (stop, stop + 1)]
        assert tokens[0] <= budget or stop == start + 1
        assert tokens[1] > budget or stop == len(lengths)


def test_no_pairs_no_batches(pairs: Dataset) -> None:
    assert len(PairLoader(pairs, BUDGET, longest=1, seed=1)) == 0
