"""Where Lightning's training loop has come to: the only module that knows its insides."""

from typing import Any

import lightning


def epoch_begins(trainer: lightning.Trainer) -> bool:
    """Whether no batch of the epoch has been read yet, by a run before a resume either."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready == 0


def completed_epochs(trainer: lightning.Trainer) -> int:
    """How many epochs have been trained, those before a resume included."""
    loader: Any = trainer.train_dataloader  # Lightning does not count the epoch whose validation saved a checkpoint
    return int(loader.epoch + loader.through)


def recount(trainer: lightning.Trainer) -> None:
    """If a resumed run's checkpoint is that of a whole epoch, makes the loop see it as one of as many batches as now."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    loader: Any = trainer.train_dataloader
    if loader.through:
        more = loader.count - progress.ready
        for stage in ("ready", "started", "processed", "completed"):
            setattr(progress, stage, getattr(progress, stage) + more)


def step_is_whole(trainer: lightning.Trainer) -> bool:
    """Whether the batch completes an optimiser step, rather than adding to its gradient."""
    return not trainer.fit_loop.epoch_loop._should_accumulate()


def validation_is_due(trainer: lightning.Trainer) -> bool:
    """Whether a validation comes after the batch."""
    loop = trainer.fit_loop
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]


def make_validation_due(trainer: lightning.Trainer, due: bool) -> None:
    """Whether one is to come: Lightning validates after every multiple of `val_check_batch` batches."""
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    trainer.val_check_batch = batches if due else batches + 1
