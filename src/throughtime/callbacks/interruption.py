"""Ctrl-C and SIGTERM: the run saves where it stands and says how it goes on."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning

STANDARD_ERROR = 2
SOON = b"stopping behind this step, or behind the validation that runs; a second signal ends it at once\n"


class Interruption(lightning.Callback):
    """Saves `last` and ends the program, with 128 + the signal's number, after the step that a signal fell into, or after
    the validation behind it; the test of what is saved already is ended at once.

    A second signal ends all at once. Several processes of one run are left to their launcher.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, last: Path):
        self._last = last
        self._caught: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._listen(trainer, self._catch)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if self._caught is not None:
            trainer.save_checkpoint(self._last)
            self._end(f"stopped at step {trainer.global_step}", "goes on from there")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restore()
        if self._caught is not None:
            self._end(f"stopped behind the last step, {trainer.global_step}", "tests what it has learned")

    def on_test_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._listen(trainer, self._end_test)

    def on_test_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """A compiler may have died of the signal that the run itself is still to answer."""
        self._restore()
        if isinstance(exception, KeyboardInterrupt) and trainer.world_size == 1:
            self._caught = self._caught or signal.SIGINT
        if self._caught is not None and not isinstance(exception, SystemExit):
            self._end(f"stopped in step {trainer.global_step + 1}", "goes on from the last validation")

    def _listen(self, trainer: lightning.Trainer, answer: Callable[[int, FrameType | None], None]) -> None:
        if trainer.world_size == 1:
            self._before = {number: signal.signal(number, answer) for number in self.SIGNALS}

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _catch(self, number: int, _: FrameType | None) -> None:
        self._caught = number
        self._restore()
        os.write(STANDARD_ERROR, SOON)  # a handler may not print, as what it interrupts may be printing

    def _end_test(self, number: int, _: FrameType | None) -> None:
        self._caught = number
        self._restore()
        self._end("stopped in the test", "tests again")

    def _end(self, where: str, onward: str) -> None:
        assert self._caught is not None
        hint = f"; resume={self._last.parent.parent} {onward}" if self._last.exists() else ""
        print(f"{where}{hint}", file=sys.stderr, flush=True)
        raise SystemExit(128 + self._caught)
