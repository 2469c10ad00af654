"""What a resumed run takes over of the record so far, so that its curves begin at the beginning."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from throughtime.whole import whole_file

Log = Callable[[dict[str, Any], int], None]  # a row and its step


def take_over(earlier: Path, folder: Path, log: Log, step: int) -> None:
    """Logs the rows of `metrics.csv` and copies the lines of `gradient_flow.jsonl` up to optimiser step `step`, that of the
    checkpoint; what an interrupted run has written beyond it, the resumed one writes anew."""
    _metrics(earlier / "metrics.csv", log, step)
    _flows(earlier / "gradient_flow.jsonl", folder / "gradient_flow.jsonl", step)


def _metrics(file: Path, log: Log, step: int) -> None:
    if not file.exists():
        return
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            at = int(row.pop("step"))
            if at < step:  # rows count from 0
                log({name: value for name, value in row.items() if value}, at)


def _flows(file: Path, target: Path, step: int) -> None:
    if not file.exists():
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    with whole_file(target) as fresh:
        fresh.write_text("".join(line for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")
