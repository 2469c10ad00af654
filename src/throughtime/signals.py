"""The signals that stop a run."""

import multiprocessing
import signal


def stopping() -> tuple[signal.Signals, ...]:
    """SIGTERM and Ctrl-C's SIGINT; a process that joblib started leaves Ctrl-C, which a terminal sends to both, to its
    parent, or it would be stopped twice."""
    if multiprocessing.parent_process() is None:
        return signal.SIGINT, signal.SIGTERM
    return (signal.SIGTERM,)
