"""Keeps the best checkpoint of a run or, if asked, several to average or combine; each file is written whole."""

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from throughtime import config
from throughtime.train import checkpoint
from throughtime.train.ranks import leading
from throughtime.whole import copy_whole, whole_file


class Best(ModelCheckpoint):
    """The best by `monitor`. A resumed run, which has a folder of its own, takes over the best so far, if it still lies
    beside the checkpoint that is resumed."""

    def on_load_checkpoint(self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._start, self._history = Path(str(trainer.ckpt_path)), _history(checkpoint)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        scores = {Path(path): score for path, score in state_dict["best_k_models"].items()}
        found = {path: place for path, score in scores.items() if (place := self._place(path, float(score)))}
        before = sorted(found, key=lambda path: float(scores[path]), reverse=self.mode == "max")[: self.save_top_k]
        if not before:
            return
        ours = {path: Path(str(self.dirpath)) / path.name for path in before}
        if leading():
            for path in before:
                copy_whole(found[path], ours[path])
        taken = {
            "dirpath": self.dirpath,
            "best_model_path": str(ours[before[0]]),
            "best_model_score": scores[before[0]],
            "kth_best_model_path": str(ours[before[-1]]),
            "kth_value": scores[before[-1]],
            "best_k_models": {str(ours[path]): scores[path] for path in before},
        }
        super().load_state_dict({**state_dict, **taken})

    def _place(self, path: Path, score: float) -> Path | None:
        """Where the checkpoint of that score is now: the run may have been moved, continued, and overwritten it."""
        beside = _home(self._start) / path.relative_to(_home(path))
        with suppress(config.Mistake):
            if self._is_of(_history(checkpoint.read(beside, "resume")), score):
                return beside
        return self._start if self._is_of(self._history, score) else None

    def _is_of(self, history: list[dict[str, float]], score: float) -> bool:
        """Whether a history ends with the validation of that score, and is one from which the resumed run has come."""
        led = str(history) == str(self._history[: len(history)])  # as text, where nan equals nan
        return led and bool(history) and history[-1].get(str(self.monitor)) == score


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
        """Distinct from that of `best.ckpt`, which may monitor the same metric."""
        return f"Kept({Path(str(self.dirpath)).name}, {self.monitor})"


def kept(choice: config.Keep, folder: Path, monitor: str, mode: str) -> list[Kept]:
    """The callbacks of `trainer.keep`; `best.ckpt` and `last.ckpt` are kept anyway."""
    best = [Kept(folder / "best", choice.best, monitor, mode)] if choice.best > 1 else []
    return best + ([Kept(folder / "last", choice.last, "step", "max")] if choice.last > 1 else [])


def _home(path: Path) -> Path:
    """The folder of all checkpoints of a run, some of which are kept one folder deeper."""
    return next((folder for folder in path.parents if folder.name == "checkpoints"), path.parent)


def _history(content: dict[str, Any]) -> list[dict[str, float]]:
    """The validations up to a checkpoint, the last of which is its own."""
    found: list[dict[str, float]] = content["callbacks"]["Progress"]["history"]
    return found


class WholeFiles(TorchCheckpointIO):
    """Writes beside the old file and then replaces it, so that a full disk or a kill loses nothing."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)  # writing to a file, torch would hide why the disk refused
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(Path(path)) as fresh:
            fresh.write_bytes(content.getbuffer())
