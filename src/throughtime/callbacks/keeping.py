"""Keeps the best checkpoint of a run, and where asked several, to be averaged or combined in an ensemble."""

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from throughtime import config
from throughtime.train.ranks import leading
from throughtime.whole import whole_file


class Best(ModelCheckpoint):
    """`best.ckpt` by `monitor`. A resumed run, which has a folder of its own, takes over what was the best before."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, ours = Path(state_dict["best_model_path"]), Path(str(self.dirpath)) / "best.ckpt"
        if not before.is_file():
            return
        if leading():
            ours.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(ours) as fresh:
                shutil.copyfile(before, fresh)
        place, score = str(ours), state_dict["best_model_score"]
        paths = {"best_model_path": place, "kth_best_model_path": place, "best_k_models": {place: score}}
        super().load_state_dict({**state_dict, "dirpath": self.dirpath, **paths})


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
