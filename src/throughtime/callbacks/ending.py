"""A training's last step is validated, wherever it falls, so that its checkpoints and its record hold it."""

from typing import Any

import lightning


class Ending(lightning.Callback):
    """Tells Lightning behind the last batch to stop, which it does with a validation; by itself it would just end."""

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs > 0
        if trainer.global_step >= trainer.max_steps > 0 or (last_epoch and trainer.is_last_batch):
            trainer.should_stop = True
