"""Ctrl-C and SIGTERM between two steps: the run saves where it stands and says how it goes on."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import lightning


class Interruption(lightning.Callback):
    """Saves `last` and ends the program, with 128 + the signal's number, after the step that a signal fell into.

    A second signal ends it at once. Several processes of one run are left to their launcher.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, last: Path):
        self._last = last
        self._caught: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.world_size == 1:
            self._before = {number: signal.signal(number, self._catch) for number in self.SIGNALS}

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._restore()

    def _catch(self, number: int, _: FrameType | None) -> None:
        self._caught = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if self._caught is None:
            return
        trainer.save_checkpoint(self._last)
        run = self._last.parent.parent
        print(f"stopped at step {trainer.global_step}; resume={run} goes on from there", file=sys.stderr, flush=True)
        raise SystemExit(128 + self._caught)
