"""A validation every given number of optimiser steps."""

from typing import Any

import lightning

from throughtime.train import course


class Interval(lightning.Callback):
    """Tells Lightning after each batch whether a validation is due. Lightning itself counts batches, of which the last
    step of an epoch may have fewer than the others if gradients are accumulated."""

    def __init__(self, steps: int):
        self._steps = steps

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._tell(trainer)  # a resumed run may start where one was due

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._tell(trainer)

    def _tell(self, trainer: lightning.Trainer) -> None:
        course.make_validation_due(trainer, trainer.global_step % self._steps == 0 and course.step_is_whole(trainer))
