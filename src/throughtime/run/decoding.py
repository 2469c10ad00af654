"""A decoding job: lines in, answers out, block by block, with nothing but a checkpoint."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from throughtime import config, memory
from throughtime.run.decode.answers import Answer, NoTally, Tally
from throughtime.run.decode.conversation import Typewriter, is_typed, shows_tokens, typed
from throughtime.run.decode.loading import files
from throughtime.run.decode.output import Output, ResumableFile, SpecialFile, marks_of
from throughtime.run.decode.reading import Block, blocks_by_now, is_live, opened, whole_blocks, with_targets
from throughtime.run.decode.scorer import Total
from throughtime.run.decode.scores import References, compared_files
from throughtime.run.decode.sources import Source, refuse_overwriting, sources
from throughtime.run.decode.workers import Submit, in_order, workers

REMARKS = 10  # lines that are remarked on before the others are only counted
PLACES = (
    "checkpoint", "language_model", "input", "output", "references", "baseline", "bootstrap",
    "resume", "devices", "allow_code", "outputs", "shortlist.source", "shortlist.target",
)  # fmt: skip  # settings that a resumed job may change


def decode(settings: config.DecodeConfig) -> None:
    """Decodes or scores `input` into `output` and, if asked, reports how good the whole is.

    Raises:
        Mistake: a file or checkpoint that cannot be used, or too little memory; an existing output is left as it was.
    """
    with memory.enough("batch", settings.batch, "less, or a smaller search, with the memory here"):
        _decode(settings)


def _decode(settings: config.DecodeConfig) -> None:
    named = files(settings)
    all_sources = sources(settings)
    refuse_overwriting(settings.output, all_sources, [*named.paths, *compared_files(settings)])
    total = _lines_of([source.path for source in all_sources])
    if total is not None and all_sources[0].targets is not None and _lines_of([all_sources[0].targets]) != total:
        raise config.wrong("targets", all_sources[0].targets, f"a file of {total} lines like the input")
    tally, typewriter = _tally(settings, total, named.models[-1]), Typewriter()
    show = typewriter.show if shows_tokens(settings, all_sources) else None
    shows_bar = not any(map(is_typed, all_sources))  # it would overwrite what is typed
    with workers(settings, named, show) as submit, _bar(total, shows_bar) as advance:
        job = Job(settings, named.identity(), submit, advance, tally, typewriter)
        for source in all_sources:
            job.run(source)
    job.remarks.close()
    for source in all_sources:
        if source.target is not None:
            marks_of(source.target).unlink(missing_ok=True)
    tally.report()


def _tally(settings: config.DecodeConfig, total: int | None, path: Path) -> Tally:
    if settings.mode == "score":
        return Total()
    return NoTally() if settings.references is None else References.of(settings, total, path)


class Remarks:
    """What a user should know about single lines, on standard error; of many lines only the first."""

    def __init__(self) -> None:
        self._lines = 0

    def add(self, source: Source, answers: list[Answer]) -> None:
        """Prints the answers' remarks on their lines."""
        for answer in answers:
            self._lines += bool(answer.remarks)
            for remark in answer.remarks if self._lines <= REMARKS else ():
                print(f"{source.named(answer.place)} {remark}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Prints how many more lines had remarks."""
        if self._lines > REMARKS:
            print(f"{self._lines - REMARKS:,} more lines were answered with such remarks.", file=sys.stderr)


@dataclass
class Job:
    """What all sources of a job share; `identity` distinguishes its checkpoints from others."""

    settings: config.DecodeConfig
    identity: list[str]
    submit: Submit
    advance: Callable[[int], None]
    tally: Tally
    standard_output: Output
    remarks: Remarks = field(default_factory=Remarks)

    def run(self, source: Source) -> None:
        """Answers all lines of a source that have not been answered yet."""
        with opened(source) as file, self._output(source) as output:
            lines = with_targets(file, source)
            done = output.take_up(lines)
            self.tally.take_up(output.kept(), source)
            self.advance(done)
            for block, answers in in_order(self._blocks(source, file, lines, done), source, self.submit, self.settings):
                output.add(block, "".join(answer.written for answer in answers))
                self.tally.add(answers)
                self.remarks.add(source, answers)
                self.advance(len(block))

    def _blocks(self, source: Source, file: BinaryIO, lines: Iterator[bytes], done: int) -> Iterator[Block | None]:
        if is_typed(source):
            return typed()
        if is_live(source):
            return blocks_by_now(file, self.settings.batch)
        return whole_blocks(lines, done, self.settings.read_ahead)

    def _output(self, source: Source) -> Output:
        if source.target is None:
            return self.standard_output
        if source.target.exists() and not source.target.is_file():
            return SpecialFile(source.target)
        shaping = {name: value for name, value in _flat(config.plain(self.settings)) if name not in PLACES}
        return ResumableFile(source.target, {**shaping, "checkpoint": self.identity}, self.settings.resume)


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their full names."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _lines_of(paths: Sequence[Path | None]) -> int | None:
    """How many lines the files have in all; None if one is a stream."""
    total = 0
    for path in paths:
        if path is None or path.is_fifo():
            return None
        with path.open("rb") as file:
            total += sum(1 for _ in file)
    return total


@contextmanager
def _bar(total: int | None, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal, and a function that advances it."""
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as progress:
        bar = progress.add_task("decoding", total=total)
        yield lambda lines: progress.advance(bar, lines)
