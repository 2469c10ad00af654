"""Keeps the best checkpoint of a run, and where asked several, to be averaged or combined in an ensemble; each file whole."""

import io
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from throughtime import config
from throughtime.train.ranks import leading
from throughtime.whole import whole_file


class Best(ModelCheckpoint):
    """The best by `monitor`. A resumed run, which has a folder of its own, takes over what was the best before."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        scores = {path: score for path, score in state_dict["best_k_models"].items() if Path(path).is_file()}
        before = sorted(scores, key=lambda path: float(scores[path]), reverse=self.mode == "max")[: self.save_top_k]
        if not before:
            return
        ours = [str(Path(str(self.dirpath)) / Path(path).name) for path in before]
        if leading():
            for path, place in zip(before, ours, strict=True):
                _copy(Path(path), Path(place))
        taken = {
            "dirpath": self.dirpath,
            "best_model_path": ours[0],
            "best_model_score": scores[before[0]],
            "kth_best_model_path": ours[-1],
            "kth_value": scores[before[-1]],
            "best_k_models": {place: scores[path] for path, place in zip(before, ours, strict=True)},
        }
        super().load_state_dict({**state_dict, **taken})


class Kept(Best):
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
        return f"Kept({Path(str(self.dirpath)).name}, {self.monitor})"


def kept(choice: config.Keep, folder: Path, monitor: str, mode: str) -> list[Kept]:
    """The callbacks of `trainer.keep`; `best.ckpt` and `last.ckpt` are kept anyway."""
    best = [Kept(folder / "best", choice.best, monitor, mode)] if choice.best > 1 else []
    return best + ([Kept(folder / "last", choice.last, "step", "max")] if choice.last > 1 else [])


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as fresh:
        shutil.copyfile(source, fresh)


class WholeFiles(TorchCheckpointIO):
    """Writes beside the old file and then takes its place, so that a full disk or a kill loses nothing."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)  # into a file it would hide why the disk refused it
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(Path(path)) as fresh:
            fresh.write_bytes(content.getbuffer())
