"""A decoding job: lines in, answers out, block by block, with nothing but a checkpoint."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from throughtime import config
from throughtime.data.files import fingerprint
from throughtime.run.decode.answers import Answer, best_texts, gives_several
from throughtime.run.decode.output import Output, ResumableFile, StandardOutput, marks_of
from throughtime.run.decode.reading import blocks_by_now, is_live, opened, whole_blocks
from throughtime.run.decode.scores import References
from throughtime.run.decode.sources import Source, sources
from throughtime.run.decode.workers import Submit, in_order, workers
from throughtime.train import checkpoint

REMARKS = 10  # lines remarked on before the others are only counted
PLACES = (
    "checkpoint",
    "input",
    "output",
    "references",
    "baseline",
    "bootstrap",
    "resume",
    "devices",
    "allow_code",
    "outputs",
)


def decode(settings: config.DecodeConfig) -> None:
    """Decodes `input` into `output`, and scores it where references are given.

    Raises:
        Mistake: a file or checkpoint that cannot be used; an output that was there stays as it was.
    """
    paths = _checkpoints(settings)
    found = sources(settings)
    total = _lines_of(found)
    references = References.of(settings, total, paths[-1])
    with workers(settings, paths) as submit, _bar(total) as advance:
        job = Job(settings, " ".join(map(fingerprint, paths)), submit, advance)
        best = [text for source in found for text in job.run(source)]
    job.remarks.close()
    for source in found:
        if source.target is not None:
            marks_of(source.target).unlink(missing_ok=True)
    if references is not None:
        references.print_scores(best)


def _checkpoints(settings: config.DecodeConfig) -> list[Path]:
    """The files of `checkpoint=`; several only where it is said what to make of them."""
    names = settings.checkpoint if isinstance(settings.checkpoint, list) else [settings.checkpoint or ""]
    paths = [path for name in names for path in checkpoint.find_all(name, settings.outputs, "checkpoint")]
    if len(paths) > 1 and settings.combine is None:
        raise config.wrong("combine", None, f"average with the {len(paths)} files of checkpoint=")
    return paths


class Remarks:
    """What a user should know of single lines, on standard error; of many lines the first ones."""

    def __init__(self) -> None:
        self._lines = 0

    def add(self, source: Source, answers: list[Answer]) -> None:
        """Tells what the answers remark on their lines."""
        for answer in answers:
            self._lines += bool(answer.remarks)
            for remark in answer.remarks if self._lines <= REMARKS else ():
                print(f"{source.named(answer.place)} {remark}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Counts the lines that were left unsaid."""
        if self._lines > REMARKS:
            print(f"{self._lines - REMARKS:,} more lines were answered with such remarks.", file=sys.stderr)


@dataclass
class Job:
    """What all sources of a job share; `identity` is the checkpoint's."""

    settings: config.DecodeConfig
    identity: str
    submit: Submit
    advance: Callable[[int], None]
    remarks: Remarks = field(default_factory=Remarks)

    def run(self, source: Source) -> list[str]:
        """Answers all lines of a source; returns the best text of each where they are to be scored."""
        settings, scored = self.settings, self.settings.references is not None
        with opened(source) as file, self._output(source) as output:
            done = output.take_up(file)
            best = best_texts(output.kept(), source.writes_json, gives_several(settings.search)) if scored else []
            self.advance(done)
            live = is_live(source)
            blocks = blocks_by_now(file, settings.batch) if live else whole_blocks(file, done, settings.read_ahead)
            for block, answers in in_order(blocks, source, self.submit, settings):
                output.add(block, "".join(answer.written for answer in answers))
                best += [answer.best for answer in answers if scored]
                self.remarks.add(source, answers)
                self.advance(len(block))
        return best

    def _output(self, source: Source) -> Output:
        if source.target is None:
            return StandardOutput()
        shaping = {name: value for name, value in _flat(config.plain(self.settings)) if name not in PLACES}
        return ResumableFile(source.target, {**shaping, "checkpoint": self.identity}, self.settings.resume)


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their full names."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _lines_of(found: list[Source]) -> int | None:
    """How many lines the input has; None where it is a stream."""
    total = 0
    for source in found:
        if source.path is None:
            return None
        with source.path.open("rb") as file:
            total += sum(1 for _ in file)
    return total


@contextmanager
def _bar(total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; the function it gives advances it."""
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("decoding", total=total)
        yield lambda lines: progress.advance(bar, lines)
