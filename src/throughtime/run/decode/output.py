"""Where answers go: standard output, or a file that can be resumed after its job was killed.

A file is written as `<output>.writing` and replaces `<output>` once it is complete. Beside it `<output>.resume` records
after each block how far it is: `lines` read and `bytes` written, the SHA-256 of those lines (`input`), whether the file
is complete (`done`), and the `settings` that affect it. If a block was written but its mark was not, the block is cut
off and written again. The marks of all files of a job are deleted when the job ends.
"""

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from throughtime import config
from throughtime.run.decode.reading import Block, bare
from throughtime.run.decode.sources import MARKS, WRITING
from throughtime.whole import whole_file


@dataclass
class Mark:
    """How far a file is."""

    settings: dict[str, Any]
    lines: int = 0
    bytes: int = 0
    input: str = ""
    done: bool = False


class Output(Protocol):
    """Takes the answers of one source, block by block."""

    def __enter__(self) -> "Output": ...
    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None: ...

    def take_up(self, lines: Iterator[bytes]) -> int:
        """Skips the lines that have already been answered, and returns how many there are."""

    def kept(self) -> Iterable[bytes]:
        """What has been written for those lines."""

    def add(self, block: Block, written: str) -> None:
        """Writes the answers to the next block."""


class StandardOutput:
    """Standard output, flushed after each block."""

    def __enter__(self) -> "StandardOutput":
        if sys.__stdout__ is None:
            raise config.wrong("output", "-", "a file where standard output is closed")
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        pass

    def take_up(self, lines: Iterator[bytes]) -> int:
        return 0

    def kept(self) -> Iterable[bytes]:
        return ()

    def add(self, block: Block, written: str) -> None:
        self._write(written)

    def _write(self, text: str) -> None:
        with _named("standard output"):
            sys.stdout.buffer.write(text.encode())
            sys.stdout.buffer.flush()


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Says where a write was refused, as the error of a full disk names no file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or place
        raise


class SpecialFile(StandardOutput):
    """A device or a pipe under the output's name; it is never replaced, and is written to as answers come in."""

    def __init__(self, target: Path):
        self._target = target

    def __enter__(self) -> "SpecialFile":
        self._file = self._target.open("wb")
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        with suppress(OSError):  # a disk that is full refuses once more what is left in the buffer
            self._file.close()

    def _write(self, text: str) -> None:
        with _named(str(self._target)):
            self._file.write(text.encode())
            self._file.flush()


class ResumableFile:
    """An output file; with `resume` it continues where an earlier job stopped.

    Raises:
        Mistake: it cannot be written, or is to be resumed with other settings or other lines.
    """

    def __init__(self, target: Path, settings: dict[str, Any], resume: bool):
        self._target, self._writing = target, target.with_name(f"{target.name}{WRITING}")
        self._marks, self._read = marks_of(target), hashlib.sha256()
        self.mark = (resume and self._earlier(settings)) or Mark(settings)

    def _earlier(self, settings: dict[str, Any]) -> Mark | None:
        """The mark of an earlier job, which must have had the same settings."""
        if not self._marks.exists():
            return None
        mark = self._read_mark()
        for name, value in settings.items():
            if value != mark.settings.get(name) and name == "checkpoint":
                other = "another checkpoint, language_model or text of the shortlist"
                raise config.wrong(
                    "resume", True, f"false, which starts again, as {self._marks} was begun with {other}"
                )
            if value != mark.settings.get(name):
                before = f"{mark.settings.get(name)}, with which {self._marks} was begun; resume=false starts again"
                raise config.wrong(name, value, before)
        written = self._target if mark.done and not self._writing.exists() else self._writing
        return mark if written.exists() and written.stat().st_size >= mark.bytes else None

    def _read_mark(self) -> Mark:
        try:
            mark = Mark(**json.loads(self._marks.read_text()))
            whole = [type(value) for value in asdict(mark).values()] == [dict, int, int, str, bool]
            if whole and (min(mark.lines, mark.bytes) > 0 or mark.lines == mark.bytes == 0):
                return mark
        except (ValueError, TypeError):
            pass
        raise config.wrong("resume", True, f"false, which starts again, as {self._marks} is damaged")

    def __enter__(self) -> "ResumableFile":
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            if self.mark.done and not self._writing.exists():
                self._target.replace(self._writing)
            self._file: BinaryIO = self._writing.open("a+b")
        except OSError as error:
            raise config.wrong("output", self._target, f"a file that can be written ({error.strerror})") from error
        self._lock()
        if not self.mark.lines:
            self._marks.unlink(missing_ok=True)
        self._file.truncate(self.mark.bytes)
        return self

    def _lock(self) -> None:
        """Keeps a job from resuming a file that another is still writing."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise config.wrong("output", self._target, "a file that no other job is writing right now") from error

    def take_up(self, lines: Iterator[bytes]) -> int:
        for line in islice(lines, self.mark.lines):
            self._read.update(bare(line) + b"\n")
        if self.mark.lines and self._read.hexdigest() != self.mark.input:
            raise config.wrong(
                "resume", True, f"the input that {self._marks} was begun with, and its lines have changed"
            )
        return self.mark.lines

    def kept(self) -> Iterable[bytes]:
        self._file.seek(0)
        return self._file

    def add(self, block: Block, written: str) -> None:
        content = written.encode()
        with _named(str(self._target)):
            self._file.write(content)
            self._file.flush()
        for line in block:
            self._read.update(line.raw + b"\n")
        self.mark.lines, self.mark.bytes, self.mark.done = block[-1].place, self.mark.bytes + len(content), False
        self.mark.input = self._read.hexdigest()
        self._save()

    def _save(self) -> None:
        with whole_file(self._marks) as fresh:
            fresh.write_text(json.dumps(asdict(self.mark)))

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        with suppress(OSError):  # a disk that is full refuses once more what is left in the buffer
            self._file.close()
        if error is None:
            self.mark.done = True
            self._save()
        if self.mark.done:  # now, or before, if nothing was added
            os.replace(self._writing, self._target)
            return
        if not self.mark.lines:
            self._writing.unlink()
            return
        if self._read.hexdigest() == self.mark.input:  # else resuming has just been refused
            print(f"{self._writing} holds the first {self.mark.lines:,} lines; resume=true continues.", file=sys.stderr)


def marks_of(target: Path) -> Path:
    """The file that says how far an output is."""
    return target.with_name(f"{target.name}{MARKS}")
