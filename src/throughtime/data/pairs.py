"""Pairs as an Arrow table of token ids, and batches of pairs of about equal length under a budget of tokens."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

from throughtime.data.batch import IGNORED, PairBatch, pad
from throughtime.data.position import Position
from throughtime.data.tokenizer import BOS, EOS, Tokenizer

WIDTH = 4  # lengths that round up to the same multiple of this share a bucket


def write_pairs(rows: Any, tokenizers: dict[str, Tokenizer], folder: Path) -> dict[str, Any]:
    """Saves the rows with their ids and lengths, and tells how many pairs and tokens."""
    if isinstance(rows, datasets.IterableDataset):
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            return write_pairs(_gathered(rows, aside), tokenizers, folder)
    if not len(rows):
        return {"pairs": 0}
    rows = rows.map(lambda pairs: _encode(pairs, tokenizers), batched=True, keep_in_memory=len(rows) < 1_000_000)
    rows.save_to_disk(str(folder))
    digest = hashlib.sha256()
    for pair in rows.select_columns(["source", "target"]):
        digest.update(f"{pair['source']}\0{pair['target']}\n".encode())
    lengths = {f"{side}_tokens": int(np.sum(rows[f"{side}_length"])) for side in tokenizers}
    return {"pairs": len(rows), **lengths, "sha256": digest.hexdigest()}


def _gathered(rows: datasets.IterableDataset, folder: str) -> Any:
    """Streamed rows as a table; what is wrong with one is reported as it is, not as the library wraps it."""
    try:
        return datasets.Dataset.from_generator(lambda: iter(rows), cache_dir=folder)
    except datasets.exceptions.DatasetGenerationError as error:
        raise error.__cause__ or error from None


def _encode(pairs: dict[str, list[str]], tokenizers: dict[str, Tokenizer]) -> dict[str, list[Any]]:
    ids = {side: tokenizers[side].encode_batch(pairs[side]) for side in tokenizers}
    return {
        **{f"{side}_ids": ids[side] for side in ids},
        **{f"{side}_length": [len(tokens) for tokens in ids[side]] for side in ids},
    }


def open_pairs(folder: Path) -> datasets.Dataset:
    """The table, memory-mapped."""
    return datasets.load_from_disk(str(folder))


def collate(sources: list[list[int]], targets: list[list[int]]) -> PairBatch:
    """A padded batch of token ids without special ids."""
    closed = [[*ids, EOS] for ids in sources]
    return PairBatch(
        source=pad(closed),
        source_lengths=torch.tensor([len(ids) for ids in closed]),
        tokens=pad([[BOS, *ids] for ids in targets]),
        targets=pad([[*ids, EOS] for ids in targets], IGNORED),
    )


class PairLoader(Position):
    """Batches of at most `budget` tokens, padding and special ids included; a rank takes every `world`-th batch.

    Training (`seed` given) mixes pairs of about equal length and the order of the batches again each epoch; the number of
    batches stays, and is the same on every rank. Without a seed every pair comes once, shortest first. A pair longer than
    the budget is a batch of its own. Most batches have sources of one length, which the encoder reads fastest.
    """

    def __init__(
        self,
        pairs: datasets.Dataset,
        budget: int,
        longest: int | None = None,
        seed: int | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        self._ids = pairs.select_columns(["source_ids", "target_ids"])
        self._seed, self._rank, self._world = seed, rank, world
        sides = pairs.with_format("numpy", columns=["source_length", "target_length"])[:]
        lengths = np.stack([sides["source_length"], sides["target_length"]], axis=1)
        kept = np.flatnonzero(lengths.max(axis=1) <= longest) if longest else np.arange(len(pairs))
        buckets = -(-(lengths[kept] + 1) // WIDTH) * WIDTH
        self.left_out = len(pairs) - len(kept)
        self._rows, self._keys = kept, (lengths[kept, 0], *buckets.T)
        self._ordered = np.lexsort(self._keys)
        self._cuts = cut(buckets[self._ordered], budget)  # the same each epoch, since pairs change places among equals
        self.batches = batches = len(self._cuts) + 1 if len(kept) else 0  # of all ranks
        count = len(range(rank, max(batches, world), world)) if seed is None else batches // world
        settings = {"batch.tokens": budget, "batch.longest": longest, "trainer.devices": world, "seed": seed}
        super().__init__(count, settings)

    def __iter__(self) -> Iterator[PairBatch]:
        self.begin()
        batches = self._batches()
        while self.done < self.count:
            self.done += 1
            yield self._collated(batches[self.done - 1])

    def _batches(self) -> list[np.ndarray[Any, Any]]:
        """This epoch's batches of this rank, each the places of its pairs."""
        if self._seed is None:
            batches = self._split(self._ordered)  # no rank may be without one, or the others would wait for it forever
            return (batches if len(batches) >= self._world else np.array_split(self._ordered, self._world))[
                self._rank :: self._world
            ]
        random = np.random.default_rng([self._seed, self.epoch])
        batches = self._split(np.lexsort((random.random(len(self._rows)), *self._keys)))
        order = random.permutation(len(batches))[: len(batches) // self._world * self._world]
        return [batches[place] for place in order[self._rank :: self._world]]

    def _split(self, order: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        return np.split(order, self._cuts) if len(order) else []

    def _collated(self, batch: np.ndarray[Any, Any]) -> PairBatch:
        found = self._ids[self._rows[batch].tolist()]
        return collate(found["source_ids"], found["target_ids"])


def cut(lengths: np.ndarray[Any, Any], budget: int) -> list[int]:
    """Where to cut rows of `lengths` (source, target) so that each batch holds as many as its budget allows."""
    starts, most = [0], budget // (2 * WIDTH) + 1  # this many of the shortest pairs exceed the budget
    while len(rest := lengths[starts[-1] : starts[-1] + most]):
        tokens = np.maximum.accumulate(rest).sum(axis=1) * np.arange(1, len(rest) + 1)
        starts.append(starts[-1] + max(1, int(np.searchsorted(tokens, budget, side="right"))))
    return starts[1:-1]
