"""A sweep's ranking: in `sweep.csv`, `sweep.json` and `seeds.csv` after each job, in tables and a picture at the end."""

import csv
import json
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from rich.table import Table

from throughtime.config import sentence, wrong
from throughtime.run.hold import hold
from throughtime.run.ranking import Job, choices, labels, metrics, over_seeds, ranked
from throughtime.terminal import console
from throughtime.whole import whole_file

PLAIN: dict[str, Any] = {"show_edge": False, "pad_edge": False, "title_justify": "left"}  # of a table
DRAWN = 10  # of the best jobs, in the picture of where their gradients vanish


class Ranking(Callback):
    """Hydra calls it before the first job; after each, so that a sweep cut short is ranked, too; and after the last. A
    sweep with a failed job ends with exit code 1. None starts in the folder of another, nor of one that is running."""

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        folder, asked = Path(config.hydra.sweep.dir), list(config.hydra.overrides.task)
        if any(folder.rglob("summary.json")) and _asked(folder) != asked:
            _refuse(folder, "a folder without a sweep in it, or that of the same sweep, which goes on")
        with _told():
            try:
                self.held = hold(folder)  # until this process ends, however it does
            except BlockingIOError:
                _refuse(folder, "a folder whose sweep is not running")
            write(folder, ranked(folder), asked)
        if not config.hydra.launcher._target_.endswith("BasicLauncher"):
            # On Python's own interrupt joblib would kill the jobs; as orphans they save what they have.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def on_job_end(self, config: Any, job_return: Any, **_: Any) -> None:
        if config.hydra.mode == RunMode.MULTIRUN:
            folder = Path(config.hydra.sweep.dir)
            write(folder, ranked(folder), _asked(folder))

    def on_multirun_end(self, config: Any, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = ranked(folder)
        with _told():
            write(folder, jobs, _asked(folder))
            draw(folder, jobs)
            show(folder, jobs)
        if not jobs or any(job["state"] != "done" for job in jobs):
            sys.exit(1)


@contextmanager
def _told() -> Iterator[None]:
    """Ends the program on an error, of which Hydra would make a warning."""
    try:
        yield
    except OSError as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        sys.exit(2)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _refuse(folder: Path, allowed: str) -> None:
    print(f"error: {wrong('hydra.sweep.dir', folder, allowed)}", file=sys.stderr)
    sys.exit(2)


def _asked(folder: Path) -> list[str] | None:
    """The overrides of the sweep that has begun in a folder."""
    path = folder / "sweep.json"
    found: list[str] | None = json.loads(path.read_text()).get("overrides") if path.exists() else None
    return found


def write(folder: Path, jobs: list[Job], asked: list[str] | None) -> None:
    """`sweep.json` holds the sweep's overrides and the whole summaries, `sweep.csv` one row per job with its overrides and
    metrics as columns, and `seeds.csv`, if any jobs differ in their seed alone, one row for each such group."""
    with whole_file(folder / "sweep.json") as fresh:
        fresh.write_text(json.dumps({"overrides": asked, "jobs": jobs}, indent=1, ensure_ascii=False) + "\n")
    _write_table(folder / "sweep.csv", [_job_row(job) for job in jobs])
    settings = over_seeds(jobs)
    if settings:
        _write_table(folder / "seeds.csv", [_setting_row(setting) for setting in settings])


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with whole_file(path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _job_row(job: Job) -> dict[str, Any]:
    facts = ("objective", "monitor", "best_epoch", "tokens_per_second", "wall_seconds", "error")
    head = {name: job[name] for name in ("rank", "job", "state")}
    return {**head, **choices(job), **{name: job.get(name) for name in facts}, **metrics(job)}


def _setting_row(setting: Job) -> dict[str, Any]:
    facts = ("objective", "objective deviation", "monitor")
    head = {name: setting[name] for name in ("rank", "jobs")}
    return {**head, **choices(setting), **{name: setting[name] for name in facts}, **metrics(setting)}


def draw(folder: Path, jobs: list[Job]) -> None:
    """Where the best jobs' gradients vanish, at their last validation, in `gradient_flow.png`."""
    from throughtime.train import flow, flow_picture

    named = zip(labels(jobs, jobs), jobs, strict=True)
    files = {label or f"job {job['job']}": _flow(folder, job) for label, job in named if job["rank"]}
    best = dict(islice(((label, file) for label, file in files.items() if file.exists()), DRAWN))
    if best:
        last = {label: next(reversed(flow.read(file).values())) for label, file in best.items()}
        flow_picture.draw(folder / "gradient_flow.png", last)


def _flow(folder: Path, job: Job) -> Path:
    return folder / str(job["job"]) / "gradient_flow.jsonl"


def show(folder: Path, jobs: list[Job]) -> None:
    """Prints the ranking, and that over seeds; overrides that all jobs share are left out."""
    shown = console()
    shown.print(_jobs_table(jobs))
    settings = over_seeds(jobs)
    if settings:
        shown.print(_settings_table(settings, jobs))
    files = {"ranking": "sweep.csv", "seeds": "seeds.csv", "gradients": "gradient_flow.png"}
    for name, file in files.items():
        if (folder / file).exists():
            shown.print(f"{name:<10} {folder / file}", soft_wrap=True)


def _monitors(jobs: list[Job]) -> list[str]:
    return list(dict.fromkeys(job["monitor"] for job in jobs if job["rank"]))


def _jobs_table(jobs: list[Job]) -> Table:
    monitors = _monitors(jobs)
    table = Table(
        *("rank", "job", "overrides", "result", "test", "tokens/s", "seconds"),
        title=f"{len(jobs)} jobs by {' and '.join(monitors) or 'objective'}",
        **PLAIN,
    )
    for label, job in zip(labels(jobs, jobs), jobs, strict=True):
        result = _objective(job, monitors) if job["rank"] else f"{job['state']}: {job['error']}"
        speed = (f"{job[fact]:,.0f}" if job.get(fact) else "" for fact in ("tokens_per_second", "wall_seconds"))
        table.add_row(str(job["rank"] or "-"), job["job"], label, result, _tested(job), *speed)
    return table


def _objective(row: Job, monitors: list[str]) -> str:
    """The value that ranks a row; where a table has several metrics, with the name of its own."""
    return f"{row['monitor']} {row['objective']:.4g}" if len(monitors) > 1 else f"{row['objective']:.4g}"


def _tested(job: Job) -> str:
    """What the test split says by the metric that ranks the job."""
    value = job.get(job["monitor"].replace("val/", "test/")) if job["rank"] else None
    return "" if value is None else f"{value:.4g}"


def _settings_table(settings: list[Job], jobs: list[Job]) -> Table:
    monitors = _monitors(settings)
    title = f"over seeds by {' and '.join(monitors)}"
    table = Table("rank", "overrides", "jobs", "mean", "deviation", title=title, **PLAIN)
    for label, setting in zip(labels(settings, jobs), settings, strict=True):
        deviation = setting["objective deviation"]
        table.add_row(
            str(setting["rank"]),
            label,
            str(setting["jobs"]),
            _objective(setting, monitors),
            "" if deviation is None else f"{deviation:.2g}",
        )
    return table
