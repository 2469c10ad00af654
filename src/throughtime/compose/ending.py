"""How a program ends: well, or by one sentence and an exit code."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from throughtime import config


@contextmanager
def one_sentence() -> Iterator[None]:
    """Ends the program with a mistake's sentence and exit code 2."""
    if sys.stdout is None:  # closed by whatever started the program
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has enough
        _drop_output()
        sys.exit(1)
    except KeyboardInterrupt:
        _drop_output()
        sys.exit(130)  # the exit code of shells for Ctrl-C
    except (config.Mistake, OSError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {config.sentence(error)}", file=sys.stderr, flush=True)
        _drop_output()
        sys.exit(2)


def _drop_output() -> None:
    """Keeps Python from complaining on exit about output that nobody reads."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
