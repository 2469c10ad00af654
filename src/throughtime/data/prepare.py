"""Corpus -> tokenizer -> token arrays on disk, once for all runs that share them."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
from rich.console import Console

from throughtime import config
from throughtime.data import corpus, tokenizer
from throughtime.data.pairs import write_pairs
from throughtime.data.splits import SPLITS
from throughtime.data.stream import write_stream
from throughtime.data.tokenizer import Tokenizer

FORMAT = 4
ABANDONED = 86_400.0  # seconds after which nobody prepares there any more


@dataclass(frozen=True)
class Prepared:
    """A tokenized corpus: its folder, its tokenizers (`text`, or `source` and `target`), its facts for the record."""

    folder: Path
    tokenizers: dict[str, Tokenizer]
    facts: dict[str, Any]


def prepare(data: config.Data, choice: config.Tokenizer, cache: Path) -> Prepared:
    """The prepared corpus, out of the cache if an equal one is there.

    The folder appears under its final name only when it is whole, so jobs of a sweep may prepare side by side.
    """
    datasets.disable_progress_bars()
    identity = {"data": corpus.identity(data), "tokenizer": tokenizer.identity(choice), "format": FORMAT}
    folder = cache / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    if not (folder / "facts.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        _clear(cache)
        fresh = Path(tempfile.mkdtemp(dir=cache, prefix="preparing-"))
        try:
            with Console(stderr=True).status(f"preparing {data.name} with tokenizer {choice.name}"):
                _write(data, choice, fresh, identity)
            _install(fresh, folder)
        except OSError as error:
            error.filename = error.filename or str(cache)  # a write on a full disk names no file
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return _open(folder)


def _clear(cache: Path) -> None:
    """Removes what killed jobs have left half-written."""
    for left in cache.glob("preparing-*"):
        with suppress(FileNotFoundError):  # a job beside this one has just finished it
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


def _install(fresh: Path, folder: Path) -> None:
    try:
        os.rename(fresh, folder)
    except OSError:  # another job was faster
        if not (folder / "facts.json").exists():
            raise


def _open(folder: Path) -> Prepared:
    facts = json.loads((folder / "facts.json").read_text())
    states = json.loads((folder / "tokenizers.json").read_text())
    return Prepared(folder, {side: tokenizer.from_state(state) for side, state in states.items()}, facts)


def _write(data: config.Data, choice: config.Tokenizer, folder: Path, identity: dict[str, Any]) -> None:
    splits = corpus.read(data)
    sides = ("text",) if config.reads_text(data) else ("source", "target")
    learned = _learned(choice, splits["train"], sides)
    facts = {split: _write_split(splits[split], learned, folder / split) for split in SPLITS}
    _refuse_empty(data, facts)
    vocabulary = {side: learned[side].size for side in sides}
    (folder / "tokenizers.json").write_text(json.dumps({side: learned[side].state() for side in sides}))
    (folder / "facts.json").write_text(json.dumps({**identity, "vocabulary": vocabulary, "splits": facts}, indent=1))


def _learned(choice: config.Tokenizer, rows: Any, sides: tuple[str, ...]) -> dict[str, Tokenizer]:
    """A tokenizer for each side, or one for all."""
    if isinstance(choice, config.TakenTokenizer):
        return {side: tokenizer.taken(choice, side) for side in sides}
    if choice.joint:
        return dict.fromkeys(sides, tokenizer.fit(choice, chain.from_iterable(_column(rows, side) for side in sides)))
    return {side: tokenizer.fit(choice, _column(rows, side)) for side in sides}


def _write_split(rows: Any, learned: dict[str, Tokenizer], place: Path) -> dict[str, Any]:
    if "text" in learned:
        return write_stream(rows, learned["text"], place.with_suffix(".bin"))
    return write_pairs(rows, learned, place)


def _column(rows: Any, side: str) -> Iterator[str]:
    return (row[side] for row in rows)


def _refuse_empty(data: config.Data, facts: dict[str, dict[str, Any]]) -> None:
    unit = "tokens" if config.reads_text(data) else "pairs"
    for split, fact in facts.items():
        if not fact[unit] and hasattr(data, f"{split}_share"):
            share, own = f"data.{split}_share", "" if data.name == "hf" else f", or a file for data.{split}_path"
            raise config.wrong(share, getattr(data, f"{split}_share"), f"enough of the data for some {unit}{own}")
        if not fact[unit]:
            raise config.wrong("data", data.name, f"a corpus with some {unit} in each split, and {split} has none")
