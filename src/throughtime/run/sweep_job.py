"""One job of a sweep. A sweep that is started again in its own folder goes on: what is done stays, what was begun is
resumed."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from throughtime import config
from throughtime.run import parent, training
from throughtime.run.hold import hold
from throughtime.run.ranking import ASIDE
from throughtime.run.record import read_summary
from throughtime.train.quality import direction


def sweep_job(values: dict[str, Any], folder: Path, overrides: list[str], sweep: Path) -> float:
    """A run grouped under the sweep's name; a failure is printed and recorded, and the sweep continues. A job that has
    been done is left as it is."""
    run_settings, job = values["run"], folder.relative_to(sweep)
    run_settings["group"] = run_settings["group"] or sweep.name
    run_settings["name"] = "-".join([run_settings["name"], *job.parts])
    print(f"job {job}: {' '.join(overrides)}", flush=True)
    parent.stop_as_orphan()
    try:
        with _alone(folder, sweep):
            earlier = _earlier(folder, overrides, sweep)
            if earlier is not None and earlier["state"] == "done":
                print(f"job {job} has been done before", flush=True)
                return float(earlier["objective"])
            _set_aside(folder, sweep / ASIDE / job)
        with _alone(folder, sweep):  # anew, as what was set aside took the lock along
            values["resume"] = _last_saved(sweep / ASIDE / job) or values["resume"]
            return training.run(values, folder, overrides)
    except (KeyboardInterrupt, SystemExit):
        print(f"the sweep goes on with the same command and hydra.sweep.dir={sweep}", file=sys.stderr, flush=True)
        parent.end_as_orphan()  # it might take the next job
        raise
    except (config.Mistake, OSError) as error:
        print(f"job {job} failed: {config.sentence(error)}", file=sys.stderr, flush=True)
    except Exception:
        print(f"job {job} failed:", file=sys.stderr)
        traceback.print_exc()
    monitor = values["trainer"]["early_stopping"]["monitor"] or "loss"
    return float("-inf") if direction(monitor) == "max" else float("inf")


@contextmanager
def _alone(folder: Path, sweep: Path) -> Iterator[None]:
    """Keeps a job from being started while it is still running: the sweep may have ended without it."""
    try:
        held = hold(folder)
    except BlockingIOError as error:
        raise config.wrong("hydra.sweep.dir", sweep, f"a folder in which job {folder.name} is not running") from error
    try:
        yield
    finally:
        os.close(held)


def _earlier(folder: Path, overrides: list[str], sweep: Path) -> dict[str, Any] | None:
    """The summary of the same job, if the sweep has been started before.

    Raises:
        Mistake: it was another job.
    """
    if not (folder / "summary.json").exists():
        return None
    summary = read_summary(folder)
    if summary["overrides"] != overrides:
        allowed = f"the folder of the same sweep, and job {folder.name} was {' '.join(summary['overrides'])} there"
        raise config.wrong("hydra.sweep.dir", sweep, allowed)
    return summary


def _set_aside(folder: Path, aside: Path) -> None:
    """Moves what the job had begun, if it had."""
    if (folder / "config.yaml").exists():
        aside.mkdir(parents=True, exist_ok=True)
        folder.rename(next(place for number in count() if not (place := aside / str(number)).exists()))


def _last_saved(aside: Path) -> str | None:
    """The newest checkpoint of what was set aside, from which the job can be resumed."""
    saved = sorted(aside.glob("*/checkpoints/last.ckpt"), key=lambda path: int(path.parts[-3]))
    return str(saved[-1]) if saved else None
