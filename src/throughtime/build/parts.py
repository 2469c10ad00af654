"""Settings -> the parts of a training: Lightning's module, its data, and the trainer with this project's callbacks."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.plugins.environments import LightningEnvironment

from throughtime import config
from throughtime.build.devices import precision
from throughtime.build.models import model
from throughtime.callbacks.alignment import Alignment
from throughtime.callbacks.averaging import averaging
from throughtime.callbacks.decoding import Decoding
from throughtime.callbacks.ending import Ending
from throughtime.callbacks.flow import GradientFlow
from throughtime.callbacks.gradients import Clipping
from throughtime.callbacks.interruption import Interruption
from throughtime.callbacks.interval import Interval
from throughtime.callbacks.keeping import Best, WholeFiles, kept
from throughtime.callbacks.patience import Patience
from throughtime.callbacks.progress import Progress
from throughtime.callbacks.tracking import Tracker
from throughtime.data.datamodule import PairModule, StreamModule
from throughtime.data.prepare import Prepared
from throughtime.data.splits import EVALUATED
from throughtime.data.tokenizer import Tokenizer
from throughtime.nn.models import LanguageModel
from throughtime.nn.stack import Stack
from throughtime.train import checkpoint, quality
from throughtime.train.pair_task import PairTask
from throughtime.train.task import Task
from throughtime.train.text_task import TextTask


def task(settings: config.TrainConfig, prepared: Prepared) -> Task:
    """The LightningModule around a fresh model.

    Raises:
        Mistake: residual connections are asked for, but no layer can have one; or one vocabulary is needed, and a taken
            one is two.
    """
    _refuse_two_vocabularies(settings, prepared.tokenizers)
    torch.manual_seed(settings.seed)
    built = model(settings, {side: found.size for side, found in prepared.tokenizers.items()})
    if settings.model.residual and not any(any(part.residual) for part in built.modules() if isinstance(part, Stack)):
        raise config.wrong("model.residual", True, "false where no recurrent layer is as wide as what it reads")
    if precision(settings.trainer) == "64-true":
        built.double()  # Lightning would do it only after reading a resumed run's weights
    about = checkpoint.about(settings, prepared.tokenizers, prepared.facts)
    if not isinstance(built, LanguageModel):
        return PairTask(built, settings, about)
    facts = {short: prepared.facts["splits"][split] for short, split in EVALUATED.items()}
    rates = {short: fact["tokens"] / fact["characters"] for short, fact in facts.items()}
    return TextTask(built, settings, about, rates)


def _refuse_two_vocabularies(settings: config.TrainConfig, tokenizers: dict[str, Tokenizer]) -> None:
    shape = settings.model
    together = isinstance(shape, config.EncoderDecoderShape) and shape.shared_embedding
    if shape.name == "prefix_lm" or together:
        reason = "model=prefix_lm" if shape.name == "prefix_lm" else "model.shared_embedding=true"
        first, *others = (found.state() for found in tokenizers.values())
        if any(other != first for other in others):
            path = config.plain(settings.tokenizer)["path"]
            raise config.wrong("tokenizer.path", path, f"a run with one vocabulary for both sides, for {reason}")


def datamodule(settings: config.TrainConfig, prepared: Prepared) -> LightningDataModule:
    """The loaders of a text or of pairs."""
    if not config.reads_text(settings.data):
        return PairModule(prepared, settings.batch, settings.seed)
    return StreamModule(prepared, settings.batch, settings.tbptt, settings.seed, settings.evaluation)


def monitored(settings: config.TrainConfig) -> str:
    """The metric that picks the best checkpoint, stops early and ranks a sweep."""
    return f"val/{settings.trainer.early_stopping.monitor or 'loss'}"


def trainer(
    settings: config.TrainConfig,
    prepared: Prepared,
    tracker: Tracker,
    progress: Progress,
    folder: Path,
    world: int,
) -> Trainer:
    """Lightning's Trainer with this project's callbacks."""
    choice = settings.trainer
    alone = [LightningEnvironment()] if world == 1 else []  # whatever a scheduler's variables say
    interval: dict[str, Any] = {"val_check_interval": choice.validate_every, "check_val_every_n_epoch": None}
    return Trainer(
        max_epochs=choice.epochs,
        max_steps=choice.steps or -1,
        max_time=timedelta(minutes=choice.minutes) if choice.minutes else None,
        **(interval if choice.validate_every else {}),  # counted across epochs, and may be longer than one
        accelerator=choice.accelerator,
        devices=choice.devices,
        strategy="ddp" if world > 1 else "auto",
        precision=precision(choice),
        accumulate_grad_batches=choice.accumulate,
        callbacks=_callbacks(settings, prepared, tracker, progress, folder),
        logger=tracker.loggers,
        plugins=[WholeFiles(), *alone],
        default_root_dir=folder,
        log_every_n_steps=settings.log_every,
        num_sanity_val_steps=0,
        inference_mode=not isinstance(settings.evaluation, config.DynamicEvaluation),  # which takes gradients
        use_distributed_sampler=False,  # would shuffle the columns; every rank owns its own
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
    )


def _callbacks(
    settings: config.TrainConfig, prepared: Prepared, tracker: Tracker, progress: Progress, folder: Path
) -> list[Callback]:
    monitor, mode = monitored(settings), quality.direction(monitored(settings))
    always = {
        "dirpath": folder / "checkpoints",
        "enable_version_counter": False,
        "save_on_train_epoch_end": False,
    }
    every = settings.trainer.validate_every
    callbacks = [
        *([Interval(every)] if every else []),  # before those that ask whether a validation is due
        Clipping(settings.trainer.clip, settings.log_every),
        Decoding(settings, prepared, tracker, folder / "samples"),
        Alignment(settings, prepared, tracker, folder / "alignments"),
        *averaging(settings.averaging),  # after those that must see the averaged weights
        GradientFlow(settings.flow, tracker, folder),
        progress,
        Ending(),
        Best(monitor=monitor, mode=mode, filename="best", **always),  # type: ignore[arg-type]
        *kept(settings.trainer.keep, folder / "checkpoints", monitor, mode),
        ModelCheckpoint(filename="last", **always),  # type: ignore[arg-type]  # after the others, whose state it saves
    ]
    callbacks.append(Interruption(folder / "checkpoints" / "last.ckpt"))
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar(leave=False))
    if settings.trainer.early_stopping.patience is not None:
        callbacks.append(Patience(monitor, settings.trainer.early_stopping.patience, mode))
    return callbacks
