"""Several processes for one run: each job starts its own, by torch's launcher, so that sweeps and DDP go together.

Lightning's own launcher would run the whole command line again in each process, and with -m the whole sweep.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from throughtime.config import Mistake
from throughtime.run.record import read_summary


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
    launcher = [sys.executable, "-m", "throughtime.run.launch", str(count), str(folder), sys.argv[0]]
    done = subprocess.run(launcher, check=False)  # in a process of its own, since it takes over the signals
    summary = read_summary(folder)
    if done.returncode or summary["state"] != "done":
        raise Mistake(summary["error"] or f"A process of {folder} ended with exit code {done.returncode}.")
    return float(summary["objective"])


def main(count: int, folder: str, program: str) -> None:
    """torch's launcher, which ends all processes when one fails; why it failed is the record's to say."""
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    place = LaunchConfig(1, 1, count, rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id=folder, max_restarts=0)
    try:
        elastic_launch(place, sys.executable)("-m", "throughtime.run.worker", folder, program)
    except ChildFailedError as error:
        sys.exit(abs(error.get_first_failure()[1].exitcode))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
