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
    for row in csv.DictReader(_whole_lines(file)):
        at = row.pop("step", None) or ""
        if at.isdigit() and int(at) < step:  # rows count from 0
            log({name: value for name, value in row.items() if name and value}, int(at))


def _flows(file: Path, target: Path, step: int) -> None:
    lines = _whole_lines(file)
    if lines:
        with whole_file(target) as fresh:
            fresh.write_text("".join(line for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")


def _whole_lines(file: Path) -> list[str]:
    """Without the last, if a kill has cut it off."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    return [line for line in lines if line.endswith("\n")]
