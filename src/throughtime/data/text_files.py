"""The user's own running text, of any size."""

import codecs
from collections.abc import Iterator
from typing import Any

from datasets import IterableDataset

from throughtime import config
from throughtime.data.paths import not_utf8, readable
from throughtime.data.splits import SPLITS

PIECE = 1 << 16  # bytes of text read at a time

Span = tuple[str, str, int, int]  # the setting that names the file, the file, where the span begins and ends


def text(data: config.TextFiles) -> dict[str, IterableDataset]:
    """Text streamed from disk; where no own file is given, validation and test are the text's last shares."""
    given = {"validation": data.validation_path, "test": data.test_path}
    shares = {"validation": data.validation_share, "test": data.test_share}
    spans = {split: _whole(f"data.{split}_path", path) for split, path in given.items() if path is not None}
    rest = _whole("data.path", data.path or "")
    left = 1.0  # of the text
    for split in ("test", "validation"):
        if split not in spans:
            rest, spans[split] = _cut(rest, 1 - shares[split] / left)
            left -= shares[split]
    spans["train"] = rest
    read = read_lines if data.documents == "lines" else read_spans
    return {split: IterableDataset.from_generator(read, gen_kwargs={"spans": spans[split]}) for split in SPLITS}


def _whole(setting: str, name: str) -> list[Span]:
    return [(setting, str(path), 0, path.stat().st_size) for path in readable(setting, name)]


def _cut(spans: list[Span], share: float) -> tuple[list[Span], list[Span]]:
    """The first `share` of the bytes, and the rest; cut at a line's end, or failing that between two characters."""
    left = round(share * sum(stop - start for _, _, start, stop in spans))
    for place, (setting, path, start, stop) in enumerate(spans):
        if left <= stop - start:
            at = _boundary(path, start + left, stop, is_last=place == len(spans) - 1)
            return [*spans[:place], (setting, path, start, at)], [(setting, path, at, stop), *spans[place + 1 :]]
        left -= stop - start
    return spans, []


def _boundary(path: str, at: int, stop: int, is_last: bool) -> int:
    with open(path, "rb") as file:
        file.seek(at)
        near = file.read(min(PIECE, stop - at))
    line_end = near.find(b"\n") + 1
    if line_end and not (is_last and line_end > (stop - at) / 2):  # or too little would be left after it
        return at + line_end
    return at + _first_character(near)


def read_spans(spans: list[Span]) -> Iterator[dict[str, Any]]:
    """The text of byte spans in pieces that end at white space, so that no word shorter than a piece is cut in two; with the
    first piece of a span a document `begins`."""
    for setting, path, start, stop in spans:
        held, begins = b"", True
        with open(path, "rb") as file:
            file.seek(start)
            for size in _sizes(stop - start):
                held += file.read(size) if held or file.tell() else file.read(size).removeprefix(codecs.BOM_UTF8)
                if end := _end_of_words(held):
                    yield {"text": _utf8(setting, path, held[:end]), "begins": begins}
                    held, begins = held[end:], False
        if held:
            yield {"text": _utf8(setting, path, held), "begins": begins}


def read_lines(spans: list[Span]) -> Iterator[dict[str, Any]]:
    """The same text, each line a document, without its end."""
    begins = True
    for piece in read_spans(spans):
        *lines, rest = piece["text"].split("\n")
        begins |= piece["begins"]
        for line in lines:
            yield {"text": line.removesuffix("\r"), "begins": begins}
            begins = True
        if rest:
            yield {"text": rest, "begins": begins}
            begins = False


def _end_of_words(held: bytes) -> int:
    """Where the last white space ends, or failing that, in more than one piece, the last character; 0 to read on."""
    if end := max(held.rfind(b"\n"), held.rfind(b" ")) + 1:
        return end
    return len(held) - 4 + _first_character(held[-4:]) if len(held) > PIECE else 0


def _first_character(near: bytes) -> int:
    """Where the first character begins in bytes that may begin within another."""
    return next((place for place, byte in enumerate(near[:4]) if byte & 0xC0 != 0x80), 0)


def _sizes(total: int) -> Iterator[int]:
    yield from (min(PIECE, total - start) for start in range(0, total, PIECE))


def _utf8(setting: str, path: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(setting, path, error) from error
