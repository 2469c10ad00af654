"""What a run leaves besides its checkpoints: `config.yaml` and `summary.json` (docs/outputs.md lists the keys)."""

import json
import platform
import resource
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

import throughtime
from throughtime import config
from throughtime.whole import whole_file

LIBRARIES = (
    "torch",
    "lightning",
    "hydra-core",
    "wandb",
    "torchmetrics",
    "datasets",
    "tokenizers",
    "sacrebleu",
    "num2words",
)
LONGEST_REASON = 300  # characters of an unforeseen error; the terminal shows all of it


class Record:
    """The record of one run, on disk from the start, so that even a killed run leaves one."""

    def __init__(self, folder: Path, facts: dict[str, Any]):
        self.folder, self._started = folder, time.monotonic()
        self.facts = {
            "state": "running",
            "error": None,
            "folder": str(folder),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            **facts,
        }

    @classmethod
    def begin(cls, settings: config.TrainConfig, folder: Path, overrides: list[str]) -> "Record":
        """Opens the record; whoever creates `config.yaml` owns the folder, should two runs start at once.

        Raises:
            Mistake: the folder already holds a run.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with (folder / "config.yaml").open("x", encoding="utf-8") as file:
                yaml.safe_dump(config.plain(settings), file, sort_keys=False, allow_unicode=True)
        except FileExistsError:
            raise config.wrong("hydra.run.dir", folder, "a folder without a run in it") from None
        record = cls(folder, {"name": settings.run.name, "group": settings.run.group, "overrides": overrides})
        record.write({})
        return record

    @classmethod
    def reopen(cls, folder: Path) -> "Record":
        """The record that another process of this run opened, timed from then on."""
        record = cls(folder, read_summary(folder))
        since = datetime.now(UTC) - datetime.fromisoformat(record.facts["started"])
        record._started -= since.total_seconds()
        return record

    def write(self, facts: dict[str, Any]) -> None:
        """Adds facts and rewrites the whole summary."""
        self.facts |= {**facts, "wall_seconds": round(time.monotonic() - self._started, 3), **peak_memory()}
        with whole_file(self.folder / "summary.json") as fresh:
            fresh.write_text(json.dumps(self.facts, indent=1, ensure_ascii=False) + "\n")

    def fail(self, error: BaseException) -> bool:
        """Records that an error ended the run; an interruption counts as stopped. Only the first error is kept.

        Returns whether this was the first.
        """
        if read_summary(self.folder)["state"] != "running":
            return False
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        with suppress(OSError):  # a full disk must not hide the error
            self.write({"state": "stopped" if stopped else "failed", "error": _reason(error)})
        return True


def _reason(error: BaseException) -> str:
    """What ended the run."""
    if isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128:
        return f"stopped by {signal.Signals(error.code - 128).name}"
    if isinstance(error, KeyboardInterrupt):
        return "stopped by SIGINT"
    if isinstance(error, config.Mistake | OSError):
        return config.sentence(error)
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first.strip()[:LONGEST_REASON]}".removesuffix(": ")


def read_summary(folder: Path) -> dict[str, Any]:
    """What the record of a run currently says."""
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def versions() -> dict[str, str]:
    """The versions of this project, Python and the libraries that affect a result."""
    found = {name: version(name) for name in LIBRARIES}
    return {"throughtime": throughtime.__version__, "python": platform.python_version(), **found}


def peak_memory() -> dict[str, int]:
    """The most memory that this process has held, and that it has allocated on its GPU, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.cuda.is_available():
        peak["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
    return peak
