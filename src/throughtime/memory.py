"""Memory: what a step frees is kept for the next one, instead of going back to the system and being cleared again."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from throughtime.config.mistakes import wrong

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # glibc's numbers for mallopt
_SETTINGS = {
    _TRIM_THRESHOLD: 2**31 - 1,
    _TOP_PAD: 2**28,
    _MMAP_THRESHOLD: 2**25,
}  # bytes; the last is the most there may be


def keep_freed() -> None:
    """Tells the C library to hold on to freed memory, and torch, unless it is imported already, to ask for large pages; a
    process that this one starts inherits the latter.

    A training step frees and takes again all its activations; every page that the system hands out is cleared first,
    which took a fifth to a third of a step of a small model on two cores. Where there is no glibc nothing is done.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option is not None:
        for option, value in _SETTINGS.items():
            set_option(option, value)


@contextmanager
def enough(setting: str, value: object, allowed: str) -> Iterator[None]:
    """Says in a sentence which setting is too large for the machine, if it is."""
    try:
        yield
    except Exception as error:
        if not _ran_out(error):
            raise
        raise wrong(setting, value, allowed) from error


def _ran_out(error: BaseException) -> bool:
    """Whether an error says that there was too little; torch has no one kind of error for it."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or "allocate memory" in words or "out of memory" in words
