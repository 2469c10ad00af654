"""A sweep's jobs ranked: in `sweep.csv` and `sweep.json` after each job, in a table and a picture at the end."""

import csv
import json
import sys
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from rich.table import Table

from throughtime.config import sentence, wrong
from throughtime.run.record import read_summary
from throughtime.terminal import console
from throughtime.whole import whole_file

DRAWN = 10  # of the best jobs, in the picture of where their gradients vanish
LOST = {"state": "lost", "error": "the job left no summary", "overrides": []}


class Ranking(Callback):
    """Hydra calls it before the first job; after each, so that a sweep cut short is ranked, too; and after the last. A
    sweep with a failed job ends with exit code 1, and none starts in the folder of another."""

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        if any(folder.rglob("summary.json")):
            print(f"error: {wrong('hydra.sweep.dir', folder, 'a folder without a sweep in it')}", file=sys.stderr)
            sys.exit(2)

    def on_job_end(self, config: Any, job_return: Any, **_: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            folder = Path(config.hydra.sweep.dir)
            write(folder, ranked(folder))

    def on_multirun_end(self, config: Any, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = ranked(folder)
        try:
            write(folder, jobs)
            draw(folder, jobs)
        except OSError as error:  # Hydra would turn it into a warning
            print(f"error: {sentence(error)}", file=sys.stderr)
            sys.exit(2)
        show(folder, jobs)
        if not jobs or any(job["state"] != "done" for job in jobs):
            sys.exit(1)


def ranked(folder: Path) -> list[dict[str, Any]]:
    """The summaries of a sweep's jobs, best first, failed ones last; each with `job`, the name of its folder, and `rank`
    (None if it failed). Jobs of different monitors cannot be compared, so those of each are ranked separately."""
    jobs = [{"job": str(path.relative_to(folder)), **_summary(path)} for path in job_folders(folder)]
    done = sorted((job for job in jobs if job["state"] == "done"), key=_standing)
    alike = [list(group) for _, group in groupby(done, key=lambda job: job["monitor"])]
    others = [{"rank": None, **job} for job in jobs if job["state"] != "done"]
    return [{"rank": rank, **job} for group in alike for rank, job in enumerate(group, start=1)] + others


def job_folders(folder: Path) -> list[Path]:
    """The folders of a sweep's jobs in order: those with a summary, whatever their names, and 0, 1, 2, ..."""
    found = {path.parent for path in folder.rglob("summary.json")}
    found |= {path for path in folder.iterdir() if path.name.isdigit()}
    return sorted(found, key=lambda path: (int(path.name) if path.name.isdigit() else sys.maxsize, str(path)))


def _standing(job: dict[str, Any]) -> tuple[str, float]:
    """What to sort by; lower is better."""
    from throughtime.train.quality import direction

    monitor, objective = job["monitor"], job["objective"]
    return monitor, -objective if direction(monitor) == "max" else objective


def _summary(folder: Path) -> dict[str, Any]:
    return read_summary(folder) if (folder / "summary.json").exists() else LOST


def write(folder: Path, jobs: list[dict[str, Any]]) -> None:
    """`sweep.json` holds the whole summaries, `sweep.csv` one row per job with its overrides and metrics as columns."""
    with whole_file(folder / "sweep.json") as fresh:
        fresh.write_text(json.dumps({"jobs": jobs}, indent=1, ensure_ascii=False) + "\n")
    rows = [_row(job) for job in jobs]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with whole_file(folder / "sweep.csv") as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _row(job: dict[str, Any]) -> dict[str, Any]:
    choices = dict(override.split("=", 1) for override in job["overrides"] if "=" in override)
    facts = ("objective", "monitor", "best_epoch", "tokens_per_second", "wall_seconds", "error")
    metrics = {name: value for name, value in job.items() if name.startswith(("val/", "test/"))}
    head = {name: job[name] for name in ("rank", "job", "state")}
    return {**head, **choices, **{name: job.get(name) for name in facts}, **metrics}


def varied(jobs: list[dict[str, Any]]) -> dict[str, str]:
    """For each job the overrides that not all jobs share."""
    shared = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    return {job["job"]: " ".join(override for override in job["overrides"] if override not in shared) for job in jobs}


def draw(folder: Path, jobs: list[dict[str, Any]]) -> None:
    """Where the best jobs' gradients vanish, at their last validation, in `gradient_flow.png`."""
    from throughtime.train import flow, flow_picture

    files = {job["job"]: folder / job["job"] / "gradient_flow.jsonl" for job in jobs if job["rank"]}
    best = list(islice((job for job, file in files.items() if file.exists()), DRAWN))
    if best:
        labels = varied(jobs)
        found = {labels[job] or f"job {job}": flow.read_last(files[job]) for job in best}
        flow_picture.draw(folder / "gradient_flow.png", found)


def show(folder: Path, jobs: list[dict[str, Any]]) -> None:
    """Prints the ranking; overrides that all jobs share are left out."""
    monitors = list(dict.fromkeys(job["monitor"] for job in jobs if job["rank"]))
    table = Table(title=f"{len(jobs)} jobs by {' and '.join(monitors) or 'objective'}")
    for column in ("rank", "job", "overrides", "result", "tokens/s", "seconds"):
        table.add_column(column)
    labels = varied(jobs)
    for job in jobs:
        metric = f"{job['monitor']} " if job["rank"] and len(monitors) > 1 else ""
        result = f"{metric}{job['objective']:.4g}" if job["rank"] else f"{job['state']}: {job['error']}"
        cells = (job["rank"] or "-", job["job"], labels[job["job"]], result)
        table.add_row(*map(str, cells), str(job.get("tokens_per_second", "")), str(job.get("wall_seconds", "")))
    shown = console()
    shown.print(table)
    shown.print(f"ranking    {folder / 'sweep.csv'}", soft_wrap=True)
    if (folder / "gradient_flow.png").exists():
        shown.print(f"gradients  {folder / 'gradient_flow.png'}", soft_wrap=True)
