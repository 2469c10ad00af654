"""Who works in a folder: at most one process, which no kill can make leave its mark behind."""

import fcntl
import os
from pathlib import Path


def hold(folder: Path) -> int:
    """Locks a folder, made if it is not there, until the file descriptor is closed or the process has ended.

    Raises:
        BlockingIOError: another holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise
    return held
