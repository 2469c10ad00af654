"""Averaged weights: training uses the optimiser's own, evaluation and checkpoints their mean.

A checkpoint holds the mean under `state_dict`, so that decoding need not know about it, and the optimiser's weights
under `current_model_state`, from which a resumed run continues.
"""

from typing import Any

import lightning
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_avg_fn

from throughtime import config


class Averaging(WeightAveraging):
    """Lightning's averaging, which does nothing at all until it has begun."""

    def __init__(self, **settings: Any):
        super().__init__(use_buffers=False, **settings)
        self.begun = False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return self.begun and step_idx is not None

    def on_train_batch_end(self, trainer: lightning.Trainer, *rest: Any) -> None:
        """Until averaging begins, the last step counts as averaged: else it would begin with a batch that makes no
        step, as it only accumulates gradients, and so has no new weights to add."""
        if not self.begun:
            self._latest_update_step = trainer.global_step
        super().on_train_batch_end(trainer, *rest)

    @property
    def _averages(self) -> bool:
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._averages:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._averages:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leaves both sets of weights in place, for the validations and checkpoints that may follow."""

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._averages:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class Exponential(Averaging):
    """The exponential moving average from the first step on."""

    def __init__(self, decay: float):
        super().__init__(avg_fn=get_ema_avg_fn(decay))
        self.begun = True


class Nonmonotone(Averaging):
    """The plain mean of all weights since a validation loss was above the best of all earlier validations but the last
    `patience`: the averaging of NT-ASGD (Merity et al. 2017, algorithm 1), with `optim=sgd`."""

    def __init__(self, patience: int):
        super().__init__()
        self._patience = patience
        self._losses: list[float] = []

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val/loss"])
        before = self._losses[: -self._patience]
        self.begun = self.begun or (bool(before) and loss > min(before))
        self._losses.append(loss)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "losses": self._losses, "begun": self.begun}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._losses, self.begun = list(state_dict["losses"]), state_dict["begun"]


def averaging(choice: config.Averaging) -> list[lightning.Callback]:
    """The callback of `averaging=`, if any."""
    match choice:
        case config.ExponentialAveraging():
            return [Exponential(choice.decay)]
        case config.NonmonotoneAveraging():
            return [Nonmonotone(choice.patience)]
        case _:
            return []
