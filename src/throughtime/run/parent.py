"""A process ends when the one that started it does, however that ends: a killed one can end no other.

A pipe whose other end only the parent holds tells at once, and takes no time until then. joblib gives the processes of a
sweep no such pipe, so these look now and then whether they are orphans.
"""

import multiprocessing
import os
import signal
import threading
import time
from functools import cache
from multiprocessing.connection import wait

SECONDS = 1.0  # between two looks


def end_with_pipe(pipe: int) -> None:
    """From now on this process ends at once when the other end of a pipe, to which nothing more is written, is closed."""
    threading.Thread(target=_end_with_pipe, args=(pipe,), daemon=True).start()


def _end_with_pipe(pipe: int) -> None:
    wait([pipe])
    os._exit(1)


@cache
def stop_as_orphan() -> None:
    """From now on this process, if multiprocessing or joblib started it, gets a SIGTERM once it is an orphan; a run then
    saves what it has. Ctrl-C is left to the parent (`signals.py`)."""
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_stop_as_orphan, daemon=True).start()


def _stop_as_orphan() -> None:
    while not _is_orphan():
        time.sleep(SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def end_as_orphan() -> None:
    """Ends this process now if it is an orphan."""
    if _is_orphan():
        os._exit(128 + signal.SIGTERM)


def _is_orphan() -> bool:
    """Whether the process that started this one is gone: another has adopted this one then, which no new process that got
    the old one's number can hide."""
    parent = multiprocessing.parent_process()
    return parent is not None and os.getppid() != parent.pid
