"""Several processes for one run: each job starts its own, by torch's launcher, so that sweeps and DDP go together.

Lightning's own launcher would run the whole command line again in each process, and with -m the whole sweep.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from throughtime.config import Mistake


def inside() -> bool:
    """Whether a launcher started this process."""
    return "WORLD_SIZE" in os.environ


def world() -> int:
    """How many processes the run has."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """This process's place among them."""
    return int(os.environ.get("RANK", 0))


def processes(count: int, folder: Path) -> float:
    """Runs the settings in `folder/config.yaml` in `count` processes and returns the objective.

    Raises:
        Mistake: the run failed; the record's error is the sentence.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run([*torchrun, "-m", "throughtime.run.worker", str(folder)], check=False)
    summary = json.loads((folder / "summary.json").read_text())
    if done.returncode or summary["state"] != "done":
        raise Mistake(summary["error"] or f"A process of {folder} ended with exit code {done.returncode}.")
    return float(summary["objective"])
