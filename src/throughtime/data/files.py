"""The user's own files: running text of any size, and tables or aligned files of pairs."""

import codecs
import csv
import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset, IterableDataset

from throughtime import config

PIECE = 1 << 16  # bytes of text read at a time
LONGEST_FIELD = 1 << 30  # characters, in a table
SPLITS = ("train", "validation", "test")


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable(setting: str, name: str) -> list[Path]:
    """The files that a path or glob names.

    Raises:
        Mistake: as `files_of`, or they are empty.
    """
    paths = files_of(setting, name)
    if not sum(path.stat().st_size for path in paths):
        raise config.wrong(setting, name, "a file that is not empty")
    return paths


def files_of(setting: str, name: str) -> list[Path]:
    """The files, empty ones too, that a path or glob names.

    Raises:
        Mistake: nothing there, a folder, an unreadable file.
    """
    name = os.path.expanduser(name)
    paths = [Path(found) for found in sorted(glob.glob(name, recursive=True))] or [Path(name)]
    for path in paths:
        if not path.is_file():
            raise config.wrong(setting, name, _instead(path))
        try:
            path.open("rb").close()
        except OSError as error:
            raise config.wrong(setting, name, f"a readable file ({error.strerror})") from error
    return paths


def _instead(path: Path) -> str:
    if not path.exists():
        return "a file that is there"
    return "a file, not a folder" if path.is_dir() else "a file, and this is a device or a pipe"


def one_file(setting: str, name: str) -> Path:
    """The file that a path names.

    Raises:
        Mistake: as `readable`, or there are several.
    """
    first, *others = readable(setting, name)
    if others:
        raise config.wrong(setting, name, f"one file, and this pattern names {len(others) + 1}")
    return first


def identity(data: config.TextFiles | config.PairFiles) -> dict[str, Any]:
    """What determines the corpus: the settings and every named file's content."""
    names = {key: value for key, value in config.plain(data).items() if key.endswith("path") and value is not None}
    contents = {key: [fingerprint(path) for path in readable(f"data.{key}", name)] for key, name in names.items()}
    return {**config.plain(data), "sha256": contents}


# running text ----------------------------------------------------------------------------------------------------

Span = tuple[str, str, int, int]  # the setting that names the file, the file, where the span begins and ends


def text(data: config.TextFiles) -> dict[str, IterableDataset]:
    """Text streamed from disk; where no own file is given, validation and test are the text's last shares."""
    given = {"validation": data.validation_path, "test": data.test_path}
    shares = {"validation": data.validation_share, "test": data.test_share}
    spans = {split: _whole(f"data.{split}_path", path) for split, path in given.items() if path is not None}
    rest = _whole("data.path", data.path or "")
    for split in ("test", "validation"):
        if split not in spans:
            rest, spans[split] = _cut(rest, 1 - shares[split] / (1 if split == "test" else 1 - shares["test"]))
    spans["train"] = rest
    return {split: IterableDataset.from_generator(read_spans, gen_kwargs={"spans": spans[split]}) for split in SPLITS}


def _whole(setting: str, name: str) -> list[Span]:
    return [(setting, str(path), 0, path.stat().st_size) for path in readable(setting, name)]


def _cut(spans: list[Span], share: float) -> tuple[list[Span], list[Span]]:
    """The first `share` of the bytes, and the rest; cut at a line's end, or failing that between two characters."""
    left = round(share * sum(stop - start for _, _, start, stop in spans))
    for place, (setting, path, start, stop) in enumerate(spans):
        if left <= stop - start:
            at = _boundary(path, start + left, stop)
            return [*spans[:place], (setting, path, start, at)], [(setting, path, at, stop), *spans[place + 1 :]]
        left -= stop - start
    return spans, []


def _boundary(path: str, at: int, stop: int) -> int:
    with open(path, "rb") as file:
        file.seek(at)
        near = file.read(min(PIECE, stop - at))
    line_end = near.find(b"\n")
    if line_end >= 0:
        return at + line_end + 1
    return at + next((place for place, byte in enumerate(near[:4]) if byte & 0xC0 != 0x80), 0)


def read_spans(spans: list[Span]) -> Iterator[dict[str, Any]]:
    """The text of byte spans in pieces that end at white space, so that no word is cut in two; with the first piece of a
    span a document `begins`."""
    for setting, path, start, stop in spans:
        held, begins = b"", True
        with open(path, "rb") as file:
            file.seek(start)
            for size in _sizes(stop - start):
                held += file.read(size) if held or file.tell() else file.read(size).removeprefix(codecs.BOM_UTF8)
                end = max(held.rfind(b"\n"), held.rfind(b" ")) + 1
                if end:
                    yield {"text": _utf8(setting, path, held[:end]), "begins": begins}
                    held, begins = held[end:], False
        if held:
            yield {"text": _utf8(setting, path, held), "begins": begins}


def _sizes(total: int) -> Iterator[int]:
    yield from (min(PIECE, total - start) for start in range(0, total, PIECE))


def _utf8(setting: str, path: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(setting, path, error) from error


def not_utf8(setting: str, name: str, error: UnicodeDecodeError) -> config.Mistake:
    """The sentence for a file that is no UTF-8 text."""
    return config.wrong(setting, name, f"a UTF-8 text, and this one holds the byte 0x{error.object[error.start]:02x}")


# pairs -----------------------------------------------------------------------------------------------------------

Pair = tuple[str, str]


def pairs(data: config.PairFiles) -> dict[str, Dataset]:
    """Pairs of all splits; splits without a file of their own are split off the end of the training pairs, which with
    `unique` holds each pair once, so that none stands in two splits."""
    found = {split: _pairs_of(data, split) for split in SPLITS}
    rest = found["train"] or []
    rest = list(dict.fromkeys(rest)) if data.unique else rest
    shares = {"validation": data.validation_share, "test": data.test_share}
    wanted = {split: round(share * len(rest)) for split, share in shares.items() if found[split] is None}
    for split, count in wanted.items():
        found[split], rest = rest[len(rest) - count :], rest[: len(rest) - count]
    found["train"] = rest
    return {split: _as_dataset(rows or []) for split, rows in found.items()}


def _as_dataset(rows: list[Pair]) -> Dataset:
    return Dataset.from_dict({"source": [source for source, _ in rows], "target": [target for _, target in rows]})


def _pairs_of(data: config.PairFiles, split: str) -> list[Pair] | None:
    prefix = "" if split == "train" else f"{split}_"
    table, source, target = (getattr(data, f"{prefix}{kind}path") for kind in ("", "source_", "target_"))
    if source is not None:
        return aligned(f"data.{prefix}source_path", source, f"data.{prefix}target_path", target)
    return None if table is None else _table(data, f"data.{prefix}path", table)


def aligned(source_setting: str, source: str, target_setting: str, target: str) -> list[Pair]:
    """The pairs of two files, line by line.

    Raises:
        Mistake: as `read_lines`, or one file is longer.
    """
    sources, targets = read_lines(source_setting, source), read_lines(target_setting, target)
    if len(sources) != len(targets):
        raise config.wrong(target_setting, target, f"a file of {len(sources)} lines like {source}, not {len(targets)}")
    return list(zip(sources, targets, strict=True))


def read_lines(setting: str, name: str) -> list[str]:
    """The lines of one UTF-8 file without their ends, which a carriage return alone is none of."""
    try:
        content = one_file(setting, name).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(setting, name, error) from error
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]


def _table(data: config.PairFiles, setting: str, name: str) -> list[Pair]:
    lines = read_lines(setting, name)
    readers: dict[str, Callable[..., Iterator[Pair]]] = {
        ".tsv": partial(_columns, delimiter="\t"),
        ".txt": partial(_columns, delimiter="\t"),
        ".csv": partial(_columns, delimiter=","),
        ".jsonl": _objects,
    }
    reader = readers.get(Path(name).suffix)
    if reader is None:
        raise config.wrong(setting, name, "a file that ends in .tsv, .txt (tab-separated), .csv or .jsonl")
    fields = _field(data.source_field), _field(data.target_field)
    return list(reader(lines, fields, partial(_malformed, setting, name)))


def _field(field: str | int) -> str | int:
    return int(field) if isinstance(field, str) and field.isdigit() else field


def _malformed(setting: str, name: str, line: int, allowed: str) -> config.Mistake:
    return config.wrong(setting, name, f"{allowed}; line {line} is not")


def _columns(lines: list[str], fields: tuple[str | int, str | int], malformed: Any, delimiter: str) -> Iterator[Pair]:
    """Pairs from a delimited table; tab-separated fields are taken as they stand, csv's may be quoted."""
    csv.field_size_limit(LONGEST_FIELD)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    table = csv.reader((line + "\n" for line in lines), delimiter=delimiter, quoting=quoting, strict=True)
    places: list[int] | None = None if any(isinstance(field, str) for field in fields) else [int(f) for f in fields]
    try:
        for row in table:
            if places is None:
                places = [
                    row.index(field) if field in row else -1 if isinstance(field, str) else field for field in fields
                ]
                if min(places) < 0:
                    raise malformed(1, f"a table whose first line names the columns {fields[0]} and {fields[1]}")
            elif row:
                yield row[places[0]], row[places[1]]
    except (csv.Error, IndexError) as error:
        raise malformed(table.line_num, f"a table with the columns {fields[0]} and {fields[1]} in each line") from error


def _objects(lines: list[str], fields: tuple[str | int, str | int], malformed: Any) -> Iterator[Pair]:
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
