"""A text as one flat token array on disk, and the chunks of its parallel columns.

text      t0 t1 t2 t3 t4 t5 t6 t7 t8 t9 ...        one memory-mapped array
columns   t0 t1 t2 t3 t4 | t5 t6 t7 t8 t9          batch.columns of equal length
chunks    t0 t1 t2 | t3 t4                         some steps of all columns at once: one Lightning batch
          t5 t6 t7 | t8 t9                         (tbptt=, data/cuts.py)

With batch.offset the first column begins at another place each epoch, and the text goes round.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from throughtime import config
from throughtime.data.batch import IGNORED, TextChunk
from throughtime.data.cuts import Cuts, cuts
from throughtime.data.position import Position
from throughtime.data.tokenizer import BOS, EOS, PAD, Tokenizer

PIECES = 64  # texts tokenized together


def write_stream(rows: Iterable[dict[str, Any]], tokenizer: Tokenizer, path: Path) -> dict[str, Any]:
    """Writes the tokens of all rows one after another, eos after each document, and beside them where documents begin;
    reports how many there are.

    A row is a document of its own unless its `begins` says that it continues the one before. The array is uint16 where
    the vocabulary allows, else uint32; memory stays at a few pieces whatever the text's size.
    """
    digest, tokens, characters, begins = hashlib.sha256(), 0, 0, [0]
    with path.open("wb") as file:
        for text, ids, closes in _closed(rows, tokenizer):
            if closes and tokens > begins[-1]:
                ids = [EOS, *ids]
                begins.append(tokens + 1)
                digest.update(b"\0")
            file.write(np.asarray(ids, dtype=token_type(tokenizer.size)).tobytes())
            digest.update(text.encode())
            tokens, characters = tokens + len(ids), characters + len(text)
    documents = np.array(begins[:-1], dtype=np.int64)  # the last one is what would come next
    np.save(_documents_path(path), documents)
    facts = {"tokens": tokens, "characters": characters, "documents": len(documents)}
    return {**facts, "sha256": digest.hexdigest()}


def _closed(rows: Iterable[dict[str, Any]], tokenizer: Tokenizer) -> Iterator[tuple[str, list[int], bool]]:
    """The text and ids of each row, and whether the document before it ends; at the end the last one does."""
    pieces = iter(rows)
    while some := list(islice(pieces, PIECES)):
        for row, ids in zip(some, tokenizer.encode_batch([row["text"] for row in some]), strict=True):
            yield row["text"], ids, row.get("begins", True)
    yield "", [], True


def token_type(vocabulary: int) -> type[np.unsignedinteger[Any]]:
    """The narrowest array type for ids below `vocabulary`."""
    return np.uint16 if vocabulary <= 1 << 16 else np.uint32


def open_stream(path: Path, vocabulary: int) -> np.ndarray[Any, Any]:
    """The token array, memory-mapped."""
    return np.memmap(path, dtype=token_type(vocabulary), mode="r")


def open_documents(path: Path) -> np.ndarray[Any, Any]:
    """Where the documents of a token array begin, in order."""
    found: np.ndarray[Any, Any] = np.load(_documents_path(path))
    return found


def _documents_path(path: Path) -> Path:
    return path.with_suffix(".documents.npy")


class ChunkLoader(Position):
    """The chunks of one pass over a text, in order; a rank holds its own columns.

    Every token is a target exactly once. The input is bos before the first token of the text and of each of the
    `documents`; with `reset` the state begins there afresh, too. Where the columns do not come out even, the last ones end
    in ignored targets. Epoch and position are saved with a checkpoint and restored from it.
    """

    def __init__(
        self,
        text: np.ndarray[Any, Any],
        columns: int,
        tbptt: config.Tbptt,
        rank: int = 0,
        world: int = 1,
        *,
        documents: np.ndarray[Any, Any] | None = None,
        reset: bool = False,
        offset: bool = False,
        seed: int = 0,
    ):
        if len(text) < columns * world:
            raise config.wrong(
                "batch.columns", columns, f"at most the {len(text)} tokens of the text (x {world} processes)"
            )
        self._text, self._tbptt, self._reset, self._offset, self._seed = text, tbptt, reset, offset, seed
        self._documents = np.union1d([0], [] if documents is None else documents)
        self._height = -(-len(text) // (columns * world))
        self._starts = np.arange(rank * columns, (rank + 1) * columns) * self._height
        settings = {f"tbptt.{name}": value for name, value in config.plain(tbptt).items()}
        settings |= {"batch.columns": columns, "batch.offset": offset, "trainer.devices": world, "seed": seed}
        settings["batch.documents"] = "reset" if reset else "carry"
        super().__init__(len(cuts(tbptt, self._height, seed, 0).ends), settings)

    def __iter__(self) -> Iterator[TextChunk]:
        self.begin()
        found = cuts(self._tbptt, self._height, self._seed, self.epoch)
        random = np.random.default_rng([self._seed, self.epoch, 1])
        offset = int(random.integers(len(self._text))) if self._offset else 0
        while self.done < self.count:
            self.done += 1
            yield self._at(self.done - 1, found, offset)

    def _at(self, chunk: int, found: Cuts, offset: int) -> TextChunk:
        begin, end = int(found.begins[chunk]), int(found.ends[chunk])
        scored = int(found.ends[chunk - 1]) if chunk else 0
        onward = int(found.begins[chunk + 1]) if chunk + 1 < len(self) else end
        turned = self._starts[:, None] + np.arange(begin, end)
        inside, places = turned < len(self._text), (turned + offset) % len(self._text)
        anew = inside & self._begin(places)
        tokens = np.where(inside, self._text[places - 1].astype(np.int64), PAD)
        tokens[anew] = BOS
        targets = np.where(inside, self._text[places].astype(np.int64), IGNORED)[:, scored - begin :]
        anew[:, 0] &= begin > 0  # columns begin with a fresh state as it is
        resets = torch.from_numpy(anew) if self._reset and anew.any() else None
        return TextChunk(torch.from_numpy(tokens), torch.from_numpy(targets), begin == 0, onward - begin, resets)

    def _begin(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Whether a document begins at each place."""
        found: np.ndarray[Any, Any] = self._documents[np.searchsorted(self._documents, places, "right") - 1] == places
        return found
