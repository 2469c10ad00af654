"""The user's own pairs: tables, or files aligned line by line."""

import csv
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from throughtime import config
from throughtime.data.paths import aligned, read_lines
from throughtime.data.splits import SPLITS, split_off

LONGEST_FIELD = 1 << 30  # characters, in a table

Pair = tuple[str, str]
Field = str | int  # a column's name or number
NumberedRow = tuple[int, list[str]]  # the line that a row of a table ends in, and its fields
Rows = Callable[[list[str]], Iterator[NumberedRow]]


def pairs(data: config.PairFiles) -> dict[str, Dataset]:
    """Pairs of all splits; splits without a file of their own are split off the end of the training pairs, which with
    `unique` holds each pair once, so that none is in two splits."""
    found = {split: _pairs_of(data, split) for split in SPLITS}
    own = {split: rows for split, rows in found.items() if rows is not None}
    train = own.pop("train")
    shares = {"validation": data.validation_share, "test": data.test_share}
    missing = {split: share for split, share in shares.items() if split not in own}
    rest = split_off(_as_dataset(list(dict.fromkeys(train)) if data.unique else train), missing)
    return {**rest, **{split: _as_dataset(rows) for split, rows in own.items()}}


def _as_dataset(rows: list[Pair]) -> Dataset:
    return Dataset.from_dict({"source": [source for source, _ in rows], "target": [target for _, target in rows]})


def _pairs_of(data: config.PairFiles, split: str) -> list[Pair] | None:
    prefix = "" if split == "train" else f"{split}_"
    table, source, target = (getattr(data, f"{prefix}{kind}path") for kind in ("", "source_", "target_"))
    if source is not None:
        return aligned(f"data.{prefix}source_path", source, f"data.{prefix}target_path", target)
    return None if table is None else _table(data, f"data.{prefix}path", table)


def _table(data: config.PairFiles, setting: str, name: str) -> list[Pair]:
    lines = read_lines(setting, name)
    readers: dict[str, Callable[..., Iterator[Pair]]] = {
        ".tsv": partial(_columns, rows=_tabbed),
        ".txt": partial(_columns, rows=_tabbed),
        ".csv": partial(_columns, rows=_quoted),
        ".jsonl": _objects,
    }
    reader = readers.get(Path(name).suffix)
    if reader is None:
        raise config.wrong(setting, name, "a file that ends in .tsv, .txt (tab-separated), .csv or .jsonl")
    fields = _field(data.source_field), _field(data.target_field)
    return list(reader(lines, fields, partial(_malformed, setting, name)))


def _field(field: Field) -> Field:
    return int(field) if isinstance(field, str) and field.isdecimal() else field


def _malformed(setting: str, name: str, line: int, allowed: str) -> config.Mistake:
    return config.wrong(setting, name, f"{allowed}; line {line} is not")


def _tabbed(lines: list[str]) -> Iterator[NumberedRow]:
    """Fields as they stand."""
    return ((number, line.split("\t")) for number, line in enumerate(lines, start=1) if line)


def _quoted(lines: list[str]) -> Iterator[NumberedRow]:
    """Fields that may be in quotes, and then hold commas and line ends."""
    csv.field_size_limit(LONGEST_FIELD)
    table = csv.reader((line + "\n" for line in lines), strict=True)
    return ((table.line_num, row) for row in table if row)


def _columns(lines: list[str], fields: tuple[Field, Field], malformed: Any, rows: Rows) -> Iterator[Pair]:
    """Pairs from the rows of a table."""
    places: list[int] | None = None if any(isinstance(field, str) for field in fields) else [int(f) for f in fields]
    ended = 0
    try:
        for ended, row in rows(lines):  # noqa: B007 - a mistake names it
            if places is None:
                places = [
                    row.index(field) if field in row else -1 if isinstance(field, str) else field for field in fields
                ]
                if min(places) < 0:
                    raise malformed(1, f"a table whose first line names the columns {fields[0]} and {fields[1]}")
            else:
                yield row[places[0]], row[places[1]]
    except (csv.Error, IndexError) as error:
        line = ended + isinstance(error, csv.Error)  # which is in the row after the last whole one
        raise malformed(line, f"a table with the columns {fields[0]} and {fields[1]} in each line") from error


def _objects(lines: list[str], fields: tuple[Field, Field], malformed: Any) -> Iterator[Pair]:
    names = ["source" if fields[0] == 0 else fields[0], "target" if fields[1] == 1 else fields[1]]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            source, target = row[names[0]], row[names[1]]
            if not (isinstance(source, str) and isinstance(target, str)):
                raise TypeError("not a text")
            (source + target).encode()  # JSON can spell halves of characters
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            allowed = f"JSON objects with texts under the keys {names[0]} and {names[1]}, one a line"
            raise malformed(number, allowed) from error
        yield source, target
