"""A sweep's jobs ranked by what they monitor: each for itself, and those that differ in their seed alone as one."""

import math
import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from throughtime.run.record import read_summary

Job = dict[str, Any]  # a job's summary, or what several have in common
ASIDE = "interrupted"  # in a sweep's folder, what its jobs had begun when they were started again
LOST = {"state": "lost", "error": "the job left no summary", "overrides": []}


def ranked(folder: Path) -> list[Job]:
    """The summaries of a sweep's jobs, best first, failed ones last; each with `job`, the name of its folder, and `rank`
    (None if it failed). Jobs of different monitors cannot be compared, so those of each are ranked separately."""
    jobs = [{"job": str(path.relative_to(folder)), **_summary(path)} for path in job_folders(folder)]
    done = [job for job in jobs if job["state"] == "done"]
    return _in_order(done) + [{"rank": None, **job} for job in jobs if job["state"] != "done"]


def job_folders(folder: Path) -> list[Path]:
    """The folders of a sweep's jobs in order: those with a summary, whatever their names, and 0, 1, 2, ..."""
    found = {path.parent for path in folder.rglob("summary.json") if folder / ASIDE not in path.parents}
    found |= {path for path in folder.iterdir() if path.name.isdigit()}
    return sorted(found, key=lambda path: (int(path.name) if path.name.isdigit() else sys.maxsize, str(path)))


def _summary(folder: Path) -> Job:
    return read_summary(folder) if (folder / "summary.json").exists() else LOST


def over_seeds(jobs: list[Job]) -> list[Job]:
    """What ranked jobs have in common that share all `overrides` but the seed: how many `jobs` they are, each metric's
    mean under the metric's name, and its sample standard deviation under `<name> deviation` (None of one job). Ranked
    in their turn; none at all where no two jobs share so much."""
    alike: defaultdict[tuple[str, tuple[str, ...]], list[Job]] = defaultdict(list)
    for job in jobs:
        if job["rank"]:
            shared = tuple(override for override in job["overrides"] if not override.lstrip("+").startswith("seed="))
            alike[job["monitor"], shared].append(job)
    if all(len(group) == 1 for group in alike.values()):
        return []
    return _in_order([_as_one(group, shared) for (_, shared), group in alike.items()])


def _as_one(group: list[Job], shared: tuple[str, ...]) -> Job:
    found: Job = {"overrides": list(shared), "monitor": group[0]["monitor"], "jobs": len(group)}
    for name in ("objective", *metrics(group[0])):
        values = [job[name] for job in group if name in job]
        found |= {name: mean(values), f"{name} deviation": _deviation(values)}
    return found


def _deviation(values: list[float]) -> float | None:
    """The sample's; of one value there is none."""
    if not all(map(math.isfinite, values)):
        return math.nan
    return stdev(values) if len(values) > 1 else None


def metrics(job: Job) -> dict[str, Any]:
    """What was measured on the validation and the test split."""
    return {name: value for name, value in job.items() if name.startswith(("val/", "test/"))}


def _in_order(jobs: list[Job]) -> list[Job]:
    alike = groupby(sorted(jobs, key=_standing), key=lambda job: job["monitor"])
    return [{"rank": rank, **job} for _, group in alike for rank, job in enumerate(group, start=1)]


def _standing(job: Job) -> tuple[str, float]:
    """What to sort by; lower is better."""
    from throughtime.train.quality import direction

    monitor, objective = job["monitor"], job["objective"]
    return monitor, -objective if direction(monitor) == "max" else objective


def choices(job: Job) -> dict[str, str]:
    """The overrides by setting."""
    return dict(override.split("=", 1) for override in job["overrides"] if "=" in override)


def labels(rows: list[Job], jobs: list[Job]) -> list[str]:
    """For each row of a table the overrides that not all jobs of the sweep share."""
    shared = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(override for override in row["overrides"] if override not in shared) for row in rows]
