"""One job of a sweep. A sweep that is started again in its own folder goes on: what is done stays, what was begun is
resumed."""

import sys
import traceback
from itertools import count
from pathlib import Path
from typing import Any

from throughtime import config
from throughtime.run import training
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
    try:
        earlier = _earlier(folder, overrides, sweep)
        if earlier is not None and earlier["state"] == "done":
            print(f"job {job} has been done before", flush=True)
            return float(earlier["objective"])
        values["resume"] = _begun(folder, sweep / ASIDE / job) or values["resume"]
        return training.run(values, folder, overrides)
    except (KeyboardInterrupt, SystemExit):
        print(f"the sweep goes on with the same command and hydra.sweep.dir={sweep}", file=sys.stderr, flush=True)
        raise
    except (config.Mistake, OSError) as error:
        print(f"job {job} failed: {config.sentence(error)}", file=sys.stderr, flush=True)
    except Exception:
        print(f"job {job} failed:", file=sys.stderr)
        traceback.print_exc()
    monitor = values["trainer"]["early_stopping"]["monitor"] or "loss"
    return float("-inf") if direction(monitor) == "max" else float("inf")


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


def _begun(folder: Path, aside: Path) -> str | None:
    """Sets aside what the job had begun, and gives the last checkpoint from which it can be resumed, if there is one."""
    if (folder / "summary.json").exists():
        aside.mkdir(parents=True, exist_ok=True)
        folder.rename(next(place for number in count() if not (place := aside / str(number)).exists()))
    saved = sorted(aside.glob("*/checkpoints/last.ckpt"), key=lambda path: int(path.parts[-3]))
    return str(saved[-1]) if saved else None
