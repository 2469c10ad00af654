"""Lines in blocks: whole blocks of a file, or whatever a pipe holds at the moment."""

import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO, NamedTuple

from throughtime import config
from throughtime.run.decode.sources import Source

PIPE = 1 << 16  # bytes that a pipe can hold


class Line(NamedTuple):
    """`place` in its source, from 1; `raw` without its end."""

    place: int
    raw: bytes


Block = list[Line]


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """The source's bytes."""
    if source.path is None and sys.stdin is None:
        raise config.wrong("input", "-", "a file where there is no standard input")
    with open(
        sys.stdin.fileno() if source.path is None else source.path, "rb", closefd=source.path is not None
    ) as file:
        yield file


def with_targets(lines: Iterator[bytes], source: Source) -> Iterator[bytes]:
    """The lines, each followed by a line with its target if there is a file of targets.

    Raises:
        Mistake: there are not as many targets as lines.
    """
    if source.targets is None:
        yield from lines
        return
    with source.targets.open("rb") as targets:
        try:
            for line, target in zip(lines, targets, strict=True):
                yield bare(line) + b"\n" + target
        except ValueError as error:
            raise config.wrong("targets", source.targets, "a file with as many lines as the input") from error


def is_live(source: Source) -> bool:
    """Whether someone may wait for answers before the input ends: from a pipe or terminal to standard output."""
    read_from = os.fstat(sys.stdin.fileno()) if source.path is None else source.path.stat()
    return source.target is None and source.targets is None and not stat.S_ISREG(read_from.st_mode)


def whole_blocks(lines: Iterator[bytes], done: int, size: int) -> Iterator[Block]:
    """Blocks of `size` lines after the first `done`, each of which holds the same lines whenever it is read."""
    while raw := list(islice(lines, size)):
        yield numbered(raw, done)
        done += len(raw)


def blocks_by_now(file: BinaryIO, size: int) -> Iterator[Block | None]:
    """Blocks of up to `size` lines that a pipe holds at the moment; None before waiting for more."""
    held: list[bytes] = []
    done = 0
    while piece := file.read1(PIPE):  # type: ignore[attr-defined]
        held.append(piece)
        if b"\n" in piece:
            *raw, rest = b"".join(held).split(b"\n")
            held = [rest] if rest else []
            for start in range(0, len(raw), size):
                yield numbered(raw[start : start + size], done)
                done += len(raw[start : start + size])
        if not select.select([file], [], [], 0)[0]:
            yield None
    if held:
        yield numbered([b"".join(held)], done)


def numbered(raw: list[bytes], done: int) -> Block:
    """The lines after the first `done` of their source."""
    return [Line(place, bare(line)) for place, line in enumerate(raw, start=done + 1)]


def bare(line: bytes) -> bytes:
    """A line without its end."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def packed(block: Block, batch: int, room: int) -> list[Block]:
    """The block's lines from short to long, in batches of at most `batch` lines and `room` bytes, padding included; a
    longer line is a batch of its own."""
    batches: list[Block] = []
    for line in sorted(block, key=lambda line: len(line.raw)):
        if not batches or len(batches[-1]) == batch or (len(batches[-1]) + 1) * len(line.raw) > room:
            batches.append([])
        batches[-1].append(line)
    return batches
