"""What W&B itself reads back of an offline run."""

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OfflineRun:
    facts: dict[str, Any]
    history: list[dict[str, Any]]
    exit_code: int
    samples: dict[str, Any]
    over: dict[str, str | None]
    summary: dict[str, Any]


def offline_run(file: Path) -> OfflineRun:
    tool = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(tool, capture_output=True, text=True, check=True).stdout.splitlines()
    records: defaultdict[str, list[Any]] = defaultdict(list)
    for record in map(json.loads, lines):
        records[record["type"]].append(record.get(record["type"]))
    history = [row["item"] for row in records["history"]]
    table = next(row["samples.path"] for row in history if "samples.path" in row)
    samples = json.loads((file.parent / "files" / table).read_text())
    over = {one.get("name") or one["glob_name"]: one.get("step_metric") for one in records["metric"]}
    summary = {name: value for row in records["summary"] for name, value in row.get("update", {}).items()}
    return OfflineRun(records["run"][0], history, records["exit"][0]["exit_code"], samples, over, summary)
