"""Ctrl-C and SIGTERM: the run saves its state and says how to resume it."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning

from throughtime import signals
from throughtime.train import course
from throughtime.train.ranks import leading, together

STANDARD_ERROR = 2
EVERY = 10  # steps between agreements of several processes, for each of which they wait for the GPU
SOON = b"stopping after this step, and any validation it triggers; a second signal ends the run at once\n"


class Interruption(lightning.Callback):
    """Ends the program, with exit code 128 + the signal's number, after the step in which a signal arrived, and after
    any validation or end of an epoch due at that step, so that `last` holds everything done. A test ends at once.

    A second signal ends the program at once. Several processes all stop after the same step, a few steps later,
    whichever of them receives a signal, and however often: ending them at once is up to their launcher.
    """

    def __init__(self, last: Path):
        self._last = last
        self._caught: int | None = None
        self._stopping = False  # as all processes have agreed
        self._saved = False  # whether `last` holds everything done
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._listen(self._catch)

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        if self._saved and self._stopping:
            self._end(f"stopped at step {trainer.global_step}", "continues from there")

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._saved = False
        if not _more_belongs_to_it(trainer) and (trainer.world_size == 1 or trainer.global_step % EVERY == 0):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not self._saved:  # an epoch without a validation at its end
            self._save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._agree(trainer)
        self._saved = True  # by Lightning's checkpoint callback, which runs after this one

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restore()
        self._agree(trainer)
        if self._stopping:
            self._end(f"stopped after the last step, {trainer.global_step}", "tests what it has learned")

    def on_test_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._listen(self._end_test)

    def on_test_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """A compiler may have died of the signal to which the run itself has yet to respond."""
        self._restore()
        if isinstance(exception, KeyboardInterrupt):
            self._caught = self._caught or signal.SIGINT
        if self._caught is not None and not isinstance(exception, SystemExit):
            self._end(f"stopped in step {trainer.global_step + 1}", "continues from the last validation")

    def _listen(self, answer: Callable[[int, FrameType | None], None]) -> None:
        self._before = {number: signal.signal(number, answer) for number in signals.stopping()}

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _catch(self, number: int, _: FrameType | None) -> None:
        self._caught = number
        if not together():
            self._restore()
        if leading():
            os.write(STANDARD_ERROR, SOON)  # a handler may not print, as it may interrupt a print

    def _end_test(self, number: int, _: FrameType | None) -> None:
        self._caught = number
        self._restore()
        self._end("stopped in the test", "tests again")

    def _save(self, trainer: lightning.Trainer) -> None:
        """Saves, if the run is to stop."""
        self._agree(trainer)
        if self._stopping:
            trainer.save_checkpoint(self._last)
            self._saved = True

    def _agree(self, trainer: lightning.Trainer) -> None:
        """Finds out whether this process or another one has received a signal."""
        self._stopping = trainer.strategy.reduce_boolean_decision(self._caught is not None, all=False)

    def _end(self, where: str, onward: str) -> None:
        hint = f"; resume={self._last.parent.parent} {onward}" if self._last.exists() else ""
        if leading():
            print(f"{where}{hint}", file=sys.stderr, flush=True)
        raise SystemExit(128 + (self._caught or signal.SIGTERM))


def _more_belongs_to_it(trainer: lightning.Trainer) -> bool:
    """Whether a validation or the epoch's end follows this batch; a run saved before would skip it when resumed."""
    return trainer.is_last_batch or course.validation_is_due(trainer)
