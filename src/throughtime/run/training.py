"""One training run: corpus -> model -> fit -> test -> record."""

import logging
import math
import os
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import torch

from throughtime import build, config, memory
from throughtime.build import parts
from throughtime.callbacks.decoding import Decoding
from throughtime.callbacks.flow import GradientFlow
from throughtime.callbacks.progress import Progress
from throughtime.callbacks.tracking import Tracker, open_tracker
from throughtime.data.prepare import prepare
from throughtime.nn.engines import compiling
from throughtime.run import continuing, launch, report
from throughtime.run.record import Record
from throughtime.train import checkpoint, checkpoint_files, course, inherited
from throughtime.train.task import Task
from throughtime.whole import copy_whole

Callback = TypeVar("Callback")


def run(values: dict[str, Any], folder: Path, overrides: list[str]) -> float:
    """Trains by the composed settings into `folder` and returns the best value of the monitored metric.

    Raises:
        Mistake: a setting that does not fit. Once the record is open, whatever fails is recorded there, too.
    """
    settings = config.check(values, config.TrainConfig)
    build.refuse_absent(settings.trainer.accelerator, settings.trainer.devices, "trainer.accelerator")
    build.precision(settings.trainer)
    record = Record.begin(settings, folder, overrides)
    try:
        with in_memory(settings):
            if settings.trainer.devices > 1 and not launch.inside():
                prepare(settings.data, settings.tokenizer, Path(settings.outputs) / "cache")
                return launch.processes(settings.trainer.devices, folder)
            return fit(settings, record)
    except BaseException as error:
        record.fail(error)
        raise


def in_memory(settings: config.TrainConfig) -> AbstractContextManager[None]:
    """Reports a run that is too large for its machine as a mistake."""
    size = f"batch.columns={settings.batch.columns} or batch.tokens={settings.batch.tokens}"
    allowed = f"less, or less than {size}, with the memory of this machine"
    return memory.enough("model.hidden", settings.model.hidden, allowed)


def fit(settings: config.TrainConfig, record: Record) -> float:
    """The run itself, in this process (one of several under DDP)."""
    compiled_before = compiling.compile_time()
    _quiet()
    torch.set_float32_matmul_precision("high")  # TF32, where a GPU has it
    prepared = prepare(settings.data, settings.tokenizer, Path(settings.outputs) / "cache")
    if not launch.rank():
        copy_whole(prepared.folder / "tokenizers.json", record.folder / "tokenizers.json")
    task, progress = parts.task(settings, prepared), Progress()
    start = continuing.start_of(settings, task)
    if start is None and settings.start_from is not None:
        inherited.begin(task, checkpoint_files.find(settings.start_from, settings.outputs, "start_from"))
    tracker = _tracker(settings, record.folder)
    facts: dict[str, Any] | None = None
    try:
        if start is not None and not launch.rank():
            continuing.take_over(start, record.folder, tracker)
        trainer = parts.trainer(settings, prepared, tracker, progress, record.folder, launch.world())
        data = parts.datamodule(settings, prepared)
        report.opening(settings, prepared, task, trainer, start and start.file)
        trainer.fit(task, datamodule=data, ckpt_path=start and start.file, weights_only=True)
        facts = _conclude(trainer, task, data, progress, settings)
        facts["compile_seconds"] = round(compiling.compile_time() - compiled_before, 1)
    finally:
        tracker.finish(facts)
    if trainer.is_global_zero:
        record.write({"state": "done", "resumed_from": start and str(start.file), "data": prepared.facts, **facts})
        report.closing(settings, record, _callback(trainer, Decoding).samples, _callback(trainer, GradientFlow).flows)
    return float(facts["objective"])


def _tracker(settings: config.TrainConfig, folder: Path) -> Tracker:
    if launch.rank():
        return Tracker(folder)
    return open_tracker(settings.tracking, settings.run, config.plain(settings), folder)


def _conclude(trainer: Any, task: Task, data: Any, progress: Progress, settings: config.TrainConfig) -> dict[str, Any]:
    """Tests the best checkpoint and gathers the record's facts."""
    progress.pause()
    speed = progress.speed(task.tokens_seen)
    fitted = {
        "epochs": course.completed_epochs(trainer),
        "steps": trainer.global_step,
        "train_tokens": task.tokens_seen,
    }
    best, *_, last = trainer.checkpoint_callbacks
    if len(progress.history) == progress.earlier:  # a resumed run had nothing left to do
        trainer.validate(task, datamodule=data, verbose=False)
        trainer.save_checkpoint(Path(last.dirpath) / "last.ckpt")
    chosen = best.best_model_path or str(Path(last.dirpath) / "last.ckpt")
    metric = parts.monitored(settings)
    content = checkpoint.read(Path(chosen), "checkpoints")
    task.load_state_dict(content["state_dict"])
    trainer.test(task, datamodule=data, verbose=False)
    top = next(at for at in reversed(progress.history) if at["step"] == content["global_step"])
    if not math.isfinite(top[metric]):
        raise config.Mistake(f"{metric} was never a number: the training has diverged, and a lower optim.lr may help.")
    return {
        "monitor": metric,
        "objective": top[metric],
        "best_epoch": int(top["epoch"]),
        **fitted,
        "tokens_per_second": speed and round(speed, 1),
        "parameters": task.size,
        "checkpoints": {"best": chosen, "last": str(Path(last.dirpath) / "last.ckpt")},
        **{name: value for name, value in top.items() if name.startswith("val/")},
        **{name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")},
    }


def _callback(trainer: Any, kind: type[Callback]) -> Callback:
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))


def _quiet() -> None:
    """Suppresses notes of Lightning's that tell users of this project nothing."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    for note in (
        "does not have many workers",
        "callbacks used to create the checkpoint",  # when a run is resumed with other settings
        "LeafSpec",
        "Checkpoint directory",
        "Experiment logs directory",
        "smaller than the logging interval",  # metrics.csv has a row per validation anyway
        "The dirpath has changed",  # a resumed run has a folder of its own
        "was called before the ``update`` method",  # a run resumed at an epoch's end restores the sums, not the calls
        "not part of single contiguous chunk",  # cuDNN puts the weights of a cell together in no time
        "recommended to use .*sync_dist=True",  # what is logged is the same on every rank
    ):
        warnings.filterwarnings("ignore", f".*{note}.*")
    warnings.filterwarnings("ignore", ".*lr_scheduler.step.*", UserWarning)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
