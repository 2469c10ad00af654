"""`resume=`: from which checkpoint a run goes on, what it may not change, and what it takes over."""

from pathlib import Path
from typing import Any

from throughtime import config
from throughtime.callbacks.tracking import Tracker
from throughtime.run import history
from throughtime.run.history import Start
from throughtime.train import checkpoint, checkpoint_files
from throughtime.train.task import Task
from throughtime.whole import copy_whole

FIXED = ("data", "tokenizer", "model", "cell", "encoder", "context")  # what the weights depend on
KINDS = ("optim", "schedule")  # whose kind the saved state depends on; their numbers may change


def start_of(settings: config.TrainConfig, task: Task) -> Start | None:
    """The checkpoint of `resume=`, if it is given.

    Raises:
        Mistake: there is none, or the run would not go on as it has begun: it must keep the model, the data, and the
            kinds of optimiser and schedule, and may not end before what it has reached.
    """
    if settings.resume is None:
        return None
    file = checkpoint_files.find(settings.resume, settings.outputs, "resume", "last")
    content = checkpoint.read(file, "resume")
    begun, now = content["throughtime"], task.about
    _refuse_other_settings(begun["config"], now["config"], file)
    _refuse_earlier_end(settings.trainer, content, file)
    if content["state_dict"].keys() != task.state_dict().keys():  # noise within a step wraps the cell
        before = begun["config"]["dropout"]["name"]
        raise config.wrong("dropout", settings.dropout.name, f"{before}, as in the checkpoint resume={file}")
    if begun["tokenizers"] != now["tokenizers"] or _digests(begun) != _digests(now):
        raise config.wrong("resume", file, "a checkpoint of the same data, and the data has changed since")
    return Start(file, content["global_step"])


def _refuse_other_settings(begun: dict[str, Any], now: dict[str, Any], file: Path) -> None:
    for group in (*FIXED, *KINDS):
        for key, value in sorted(now[group].items(), key=lambda item: item[0] != "name"):
            before = begun[group].get(key)
            if value != before and (key == "name" or group in FIXED):
                setting, allowed = f"{group}.{key}".removesuffix(".name"), config.shown(before)
                alone = "" if checkpoint_files.run_of(file) else ", beside which no summary.json tells them"
                raise config.wrong(setting, value, f"{allowed}, as in the checkpoint resume={file}{alone}")


def _refuse_earlier_end(trainer: config.Trainer, content: dict[str, Any], file: Path) -> None:
    completed = content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if completed > trainer.epochs:
        allowed = f"at least {completed}, the epochs that the checkpoint resume={file} has completed"
        raise config.wrong("trainer.epochs", trainer.epochs, allowed)
    made = content["global_step"]
    if trainer.steps is not None and made > trainer.steps:
        allowed = f"at least {made}, the steps that the checkpoint resume={file} has completed"
        raise config.wrong("trainer.steps", trainer.steps, allowed)


def _digests(about: dict[str, Any]) -> dict[str, str]:
    """What identifies the texts of each split."""
    return {split: fact["sha256"] for split, fact in about["facts"]["splits"].items()}


def take_over(start: Start, folder: Path, tracker: Tracker) -> None:
    """Copies the checkpoint, so that the run can be resumed even if it ends before it saves, and the record so far."""
    copy_whole(start.file, folder / "checkpoints" / "last.ckpt")
    history.take_over(start, folder, tracker)
