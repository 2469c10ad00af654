"""What a resumed run takes over of the record so far, so that its curves and samples begin at the beginning. What the
earlier run has written beyond its checkpoint, the resumed one writes anew."""

import csv
import json
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from throughtime import config
from throughtime.callbacks.tracking import Tracker
from throughtime.train.checkpoint_files import run_of
from throughtime.whole import copy_whole, whole_file

TABLES = ("samples", "gradient_flow")


class Start(NamedTuple):
    """A checkpoint to go on from, and after how many steps it was saved."""

    file: Path
    step: int


def take_over(start: Start, folder: Path, tracker: Tracker) -> None:
    """Copies the files of each validation, and logs the metrics and tables again.

    Raises:
        Mistake: what the earlier run has written is damaged.
    """
    earlier = run_of(start.file)
    if earlier is not None:
        try:
            _from(earlier, start, folder, tracker)
        except (ValueError, KeyError, csv.Error) as error:
            allowed = (
                f"a checkpoint beside a record that reads, or with none, and {earlier} holds a damaged one ({error})"
            )
            raise config.wrong("resume", start.file, allowed) from error


def _from(earlier: Path, start: Start, folder: Path, tracker: Tracker) -> None:
    _metrics(earlier / "metrics.csv", start.step, tracker)
    for name in TABLES:
        _table(earlier / f"{name}.csv", start.step, tracker)
    for file in [earlier / "gradient_flow.jsonl", *(earlier / "samples").glob("epoch=*.jsonl")]:
        _lines(file, folder / file.relative_to(earlier), start.step)
    for file in (earlier / "alignments").glob("step-*.html"):
        if int(file.stem.removeprefix("step-")) <= start.step:
            copy_whole(file, folder / file.relative_to(earlier))


def _metrics(file: Path, until: int, tracker: Tracker) -> None:
    for step, row in _rows(file):
        if step < until:  # here steps count from 0
            for logger in tracker.loggers:
                logger.log_metrics({name: _number(value) for name, value in row.items() if value}, step)


def _table(file: Path, until: int, tracker: Tracker) -> None:
    for step, rows in groupby(_rows(file), key=itemgetter(0)):
        if step <= until:
            tracker.table(file.stem, [row for _, row in rows], step)


def _lines(file: Path, target: Path, until: int) -> None:
    kept = [line for line in _whole_lines(file) if json.loads(line)["step"] <= until]
    if kept:
        target.parent.mkdir(exist_ok=True)
        with whole_file(target) as fresh:
            fresh.write_text("".join(kept), encoding="utf-8")


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table, each with its step."""
    for row in csv.DictReader(_whole_lines(file)):
        step = row.pop("step", None) or ""
        if step.isdigit():
            yield int(step), {name: value for name, value in row.items() if name}


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)


def _whole_lines(file: Path) -> list[str]:
    """Without the last, if a kill has cut it off."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="\n") as lines:
        return [line for line in lines if line.endswith("\n")]
