"""What the benchmarks share: jobs timed in turns, and a table with one JSON line behind it."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

WARM_UP = 2


def medians(jobs: dict[str, Callable[[], Any]], repeats: int, warm_up: int = WARM_UP) -> dict[str, float]:
    """The median milliseconds of each job; they take turns, so that a disturbance meets them all."""
    for job in jobs.values():
        for _ in range(warm_up):
            job()
    finish()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            finish()
            seconds[name].append(time.perf_counter() - start)
    return {name: round(1000 * statistics.median(values), 2) for name, values in seconds.items()}


def finish() -> None:
    """Waits for what a GPU still has to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def busy(job: Callable[[], Any]) -> float:
    """The milliseconds that a GPU's kernels take in a job."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        job()
        finish()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1000


def device_name() -> str:
    """The GPU, where there is one, or the processor."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()


def show(title: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Rows of equal keys as a table, then everything as one JSON line."""
    table = Table(*map(str, rows[0]), title=title)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=140).print(table)
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": device_name()}
    print(json.dumps({"benchmark": title, **machine, **facts, "rows": rows}))
