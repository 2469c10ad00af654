"""Processes whose parent is killed end, each in its way, and others are left alone."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from throughtime.run import parent

ENDS = {
    "at once": "parent.end_with_pipe(multiprocessing.parent_process().sentinel)",
    "by a signal": "signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); parent.stop_as_orphan()",
    "before another job": "threading.Thread(target=take_jobs).start()",
}
KILLED = """
import multiprocessing, os, signal, threading, time
from throughtime.run import parent

def take_jobs():
    while True:
        time.sleep(0.1)
        parent.end_as_orphan()

def child():
    {ends}
    print("ready", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child).start()
    time.sleep(600)
"""


@pytest.mark.parametrize("ends", ENDS)
def test_an_orphan_ends(ends: str, tmp_path: Path) -> None:
    """It holds standard output open until then."""
    (tmp_path / "killed.py").write_text(KILLED.format(ends=ENDS[ends]))
    with subprocess.Popen([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout and running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)


def test_a_process_that_the_user_started_is_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    assert multiprocessing.parent_process() is None
    monkeypatch.setattr(os, "getppid", lambda: 1)
    parent.end_as_orphan()
