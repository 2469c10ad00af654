"""A training's last step is validated, wherever it falls, so that its checkpoints and record include it."""

from typing import Any

import lightning


class Ending(lightning.Callback):
    """Tells Lightning to stop after the last batch, which includes a validation; left alone, it would just end. A
    resumed run that has already made its last step makes no more."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or _at_the_end(trainer)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step >= trainer.max_steps > 0 or _at_the_end(trainer):
            trainer.should_stop = True


def _at_the_end(trainer: lightning.Trainer) -> bool:
    """Whether this is the last batch of the last epoch."""
    return (
        trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs > 0 and trainer.is_last_batch
    )
