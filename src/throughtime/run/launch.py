"""Several processes for one run: each job starts its own, so that sweeps and DDP can be combined.

Lightning's own launcher would run the whole command line again in each process, and with -m the whole sweep; torch's would
handle signals itself.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

from throughtime import signals
from throughtime.config import Mistake
from throughtime.run.record import read_summary

HOST = "127.0.0.1"
GRACE = 30.0  # seconds for the others to end by themselves once one has failed
OFTEN = 0.05  # seconds between two checks of the processes

Worker = subprocess.Popen[bytes]


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
        Mistake: the run failed; its sentence is the record's error.
        SystemExit: a signal ended it.
    """
    meeting = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    workers = [_started(place, count, folder, meeting.port) for place in range(count)]
    with _passing_signals_on(workers) as caught:
        failure = _ended(workers, caught)
    summary = read_summary(folder)
    if summary["state"] == "done" and not failure:
        return float(summary["objective"])
    if caught:
        raise SystemExit(128 + caught[0])
    if failure > 128:  # a signal to it alone
        raise SystemExit(failure)
    if failure == -signal.SIGKILL:
        raise Mistake(f"A process of {folder} was killed, maybe for want of memory; resume={folder} continues it.")
    raise Mistake(summary["error"] or f"A process of {folder} ended with exit code {failure}.")


def _started(place: int, count: int, folder: Path, port: int) -> Worker:
    """One process, with the variables that torch and Lightning look for; in a session of its own, so that it gets a
    terminal's Ctrl-C only as it is passed on."""
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    told = {"RANK": place, "LOCAL_RANK": place, "WORLD_SIZE": count, "MASTER_ADDR": HOST, "MASTER_PORT": port}
    of_torch = {"TORCHELASTIC_RUN_ID": str(folder), "TORCHELASTIC_USE_AGENT_STORE": "True"}  # `meeting` is here
    environment = {**threads, **os.environ, **of_torch, **{name: str(value) for name, value in told.items()}}
    line = [sys.executable, "-m", "throughtime.run.worker", str(folder), sys.argv[0]]
    return subprocess.Popen(line, env=environment, stdin=subprocess.PIPE, start_new_session=True)


@contextmanager
def _passing_signals_on(workers: list[Worker]) -> Iterator[list[int]]:
    """Passes a first signal on to the workers, and kills them at a second; yields the list of signals received."""
    caught: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        caught.append(number)
        for worker in workers:
            worker.send_signal(number if len(caught) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, pass_on) for number in signals.stopping()}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(workers: list[Worker], caught: list[int]) -> int:
    """Waits for all workers; the exit code of the one that failed first, or 0. The others of one that fails are killed
    after a while, those of one that was killed at once, unless a signal is being handled."""
    until, failure = float("inf"), 0
    while any(worker.poll() is None for worker in workers):
        failure = failure or _failure(workers)
        if failure and not caught:
            until = min(until, time.monotonic() + (0 if failure == -signal.SIGKILL else GRACE))
        if time.monotonic() > until and not caught:
            for worker in workers:
                worker.kill()
        time.sleep(OFTEN)
    return failure or _failure(workers)


def _failure(workers: list[Worker]) -> int:
    """The exit code of one that has failed, or 0."""
    return next(filter(None, (worker.poll() for worker in workers)), 0)
