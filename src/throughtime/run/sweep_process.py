"""The process that a sweep was started in. Jobs in processes of their own (hydra/launcher=joblib) end when it does."""

import os
import signal
import socket
import threading
import time
from functools import cache

NAME = "THROUGHTIME_SWEEP"  # in the environment that the jobs' processes inherit: the host, and the process's number
SECONDS = 1.0  # between two looks


def announce() -> None:
    """Says that this process is the sweep's."""
    os.environ[NAME] = f"{socket.gethostname()} {os.getpid()}"


@cache
def end_with_it() -> None:
    """From now on this process gets a SIGTERM, on which a run saves what it has, once the sweep's process is gone."""
    if _is_elsewhere():
        threading.Thread(target=_watch, daemon=True).start()


def begin_no_other_job() -> None:
    """Ends this process, which might take the next job, where the sweep's own is gone."""
    if _is_elsewhere() and not _lives():
        os._exit(128 + signal.SIGTERM)


def _watch() -> None:
    while _lives():
        time.sleep(SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_elsewhere() -> bool:
    """Whether the sweep's process is another one on this machine."""
    host, _, number = os.environ.get(NAME, "").partition(" ")
    return host == socket.gethostname() and number != str(os.getpid())


def _lives() -> bool:
    try:
        os.kill(int(os.environ[NAME].split()[1]), 0)
    except ProcessLookupError:
        return False
    return True
