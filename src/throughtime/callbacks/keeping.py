"""Keeps several checkpoints of a run, to be averaged or combined in an ensemble."""

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from throughtime import config


class Kept(ModelCheckpoint):
    """The `count` best checkpoints by `monitor`, each with its step in its name, in a folder of their own."""

    def __init__(self, folder: Path, count: int, monitor: str, mode: Any):
        super().__init__(
            dirpath=folder,
            filename="step-{step:08d}",
            auto_insert_metric_name=False,  # an = in a name would have to be quoted on a command line
            monitor=monitor,
            mode=mode,
            save_top_k=count,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        """Apart from that of `best.ckpt`, which may follow the same metric."""
        return f"Kept({Path(str(self.dirpath)).name})"


def kept(choice: config.Keep, folder: Path, monitor: str, mode: str) -> list[Kept]:
    """The callbacks of `trainer.keep`; `best.ckpt` and `last.ckpt` are kept anyway."""
    best = [Kept(folder / "best", choice.best, monitor, mode)] if choice.best > 1 else []
    return best + ([Kept(folder / "last", choice.last, "step", "max")] if choice.last > 1 else [])
