"""A text as one flat token array on disk, and the chunks of its parallel columns.

text      t0 t1 t2 t3 t4 t5 t6 t7 t8 t9 ...        one memory-mapped array
columns   t0 t1 t2 t3 t4 | t5 t6 t7 t8 t9          batch.columns of equal length
chunks    t0 t1 t2 | t3 t4                         tbptt.chunk steps of all columns at once: one Lightning batch
          t5 t6 t7 | t8 t9
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
from throughtime.data.tokenizer import BOS, PAD, Tokenizer

PIECES = 64  # texts tokenized together


def write_stream(rows: Iterable[dict[str, str]], tokenizer: Tokenizer, path: Path) -> dict[str, Any]:
    """Writes the tokens of all rows behind one another and tells how many, of how many characters.

    The array is uint16 where the vocabulary allows, else uint32; memory stays at a few pieces whatever the text's size.
    """
    digest, tokens, characters = hashlib.sha256(), 0, 0
    with path.open("wb") as file:
        pieces = (row["text"] for row in rows)
        while texts := list(islice(pieces, PIECES)):
            for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
                file.write(np.asarray(ids, dtype=token_type(tokenizer.size)).tobytes())
                digest.update(text.encode())
                tokens, characters = tokens + len(ids), characters + len(text)
    return {"tokens": tokens, "characters": characters, "sha256": digest.hexdigest()}


def token_type(vocabulary: int) -> type[np.unsignedinteger[Any]]:
    """The narrowest array type for ids below `vocabulary`."""
    return np.uint16 if vocabulary <= 1 << 16 else np.uint32


def open_stream(path: Path, vocabulary: int) -> np.ndarray[Any, Any]:
    """The token array, memory-mapped."""
    return np.memmap(path, dtype=token_type(vocabulary), mode="r")


class ChunkLoader:
    """The chunks of one pass over a text, in order; a rank holds its own columns.

    Every token is a target exactly once; the first one's input is bos. Where the columns do not come out even, the last
    ones end in ignored targets. The position is saved with a checkpoint and restored from it.
    """

    def __init__(self, text: np.ndarray[Any, Any], columns: int, chunk: int | None, rank: int = 0, world: int = 1):
        if len(text) < columns * world:
            raise config.wrong(
                "batch.columns", columns, f"at most the {len(text)} tokens of the text (x {world} processes)"
            )
        self._text = text
        self._height = -(-len(text) // (columns * world))
        self._chunk = chunk or self._height
        self._starts = np.arange(rank * columns, (rank + 1) * columns) * self._height
        self._position = 0

    def __len__(self) -> int:
        return -(-self._height // self._chunk)

    def __iter__(self) -> Iterator[TextChunk]:
        if self._position == len(self):
            self._position = 0
        while self._position < len(self):
            self._position += 1
            yield self._at(self._position - 1)

    def _at(self, chunk: int) -> TextChunk:
        steps = np.arange(chunk * self._chunk, min((chunk + 1) * self._chunk, self._height))
        places = self._starts[:, None] + steps
        targets = self._read(places, IGNORED)
        tokens = self._read(places - 1, PAD)
        tokens[places == 0] = BOS
        return TextChunk(torch.from_numpy(tokens), torch.from_numpy(targets), first=chunk == 0)

    def _read(self, places: np.ndarray[Any, Any], outside: int) -> np.ndarray[Any, Any]:
        inside = places < len(self._text)
        return np.where(inside, self._text[np.where(inside, places, 0)].astype(np.int64), outside)

    def state_dict(self) -> dict[str, int]:
        """How many chunks of this pass are done."""
        return {"position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on behind the chunks that are done."""
        self._position = state["position"]
