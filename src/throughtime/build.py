"""Config -> objects: the only place that knows every layer."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from torch import nn

from throughtime import config
from throughtime.callbacks.averaging import averaging
from throughtime.callbacks.decoding import Decoding
from throughtime.callbacks.ending import Ending
from throughtime.callbacks.gradients import Clipping
from throughtime.callbacks.interruption import Interruption
from throughtime.callbacks.keeping import Best, kept
from throughtime.callbacks.patience import Patience
from throughtime.callbacks.progress import Progress
from throughtime.callbacks.tracking import Tracker
from throughtime.data import tokenizer
from throughtime.data.datamodule import PairModule, StreamModule
from throughtime.data.prepare import Prepared
from throughtime.data.tokenizer import PAD, Tokenizer
from throughtime.nn.attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    LocationAttention,
    MultiheadAttention,
)
from throughtime.nn.cells import cell_class
from throughtime.nn.cells.own import own_cell
from throughtime.nn.decoder import Bridge, Decoder, Form, Readout, Summary
from throughtime.nn.dropout import rates
from throughtime.nn.encoder import ConvolutionalReader, Encoder, Reader, RecurrentReader
from throughtime.nn.models import EncoderDecoder, LanguageModel, PrefixModel
from throughtime.nn.precision import why_not
from throughtime.nn.products import Linear
from throughtime.nn.stack import Stack
from throughtime.train import checkpoint, quality
from throughtime.train.task import LanguageModelTask, Task, TranslationTask


def model(settings: config.TrainConfig, vocabulary: dict[str, int]) -> nn.Module:
    """The model of `model=`; `vocabulary` gives the sizes of `text`, or of `source` and `target`."""
    if settings.model.name == "prefix_lm":
        return PrefixModel(_language_model(settings, vocabulary["target"]))
    if isinstance(settings.model, config.LanguageModelShape):
        return _language_model(settings, vocabulary["text"])
    return _encoder_decoder(settings, vocabulary["source"], vocabulary["target"])


def _language_model(settings: config.TrainConfig, vocabulary: int) -> LanguageModel:
    shape, dropped = settings.model, rates(settings.dropout)
    stack = Stack(
        cell_class(settings.cell),
        shape.embedding,
        config.widths(shape),
        rates=dropped,
        engine=settings.engine,
        residual=shape.residual,
        learned_state=shape.learned_state,
    )
    embedding = _embedding(vocabulary, shape.embedding)
    return LanguageModel(embedding, stack, _output(embedding, stack.width, shape.tied), dropped)


def _encoder_decoder(settings: config.TrainConfig, source: int, target: int) -> EncoderDecoder:
    shape, dropped = settings.model, rates(settings.dropout)
    assert isinstance(shape, config.EncoderDecoderShape)
    reader, words = _reader(settings, shape), _embedding(target, shape.embedding)
    read = words if shape.shared_embedding else _embedding(source, shape.embedding)
    decoder = _decoder(settings, shape, reader, words)
    encoder = Encoder(read, reader, dropped, settings.encoder.reverse_source)
    return EncoderDecoder(encoder, decoder, _output(words, decoder.width, shape.tied), dropped)


def _reader(settings: config.TrainConfig, shape: config.EncoderDecoderShape) -> Reader:
    """The encoder of `encoder=`."""
    choice, widths, dropped = settings.encoder, config.reading_widths(settings), rates(settings.dropout)
    if isinstance(choice, config.ConvolutionalEncoder):
        return ConvolutionalReader(shape.embedding, widths[0], choice.depth, choice.window, choice.layers, dropped)
    stack = Stack(
        cell_class(config.reading_cell(settings)),
        shape.embedding,
        widths,
        shape.bidirectional,
        dropped,
        settings.engine,
        residual=shape.residual,
        merge=shape.merge,
        learned_state=shape.learned_state,
    )
    return RecurrentReader(stack, choice.layers)


def _decoder(
    settings: config.TrainConfig, shape: config.EncoderDecoderShape, reader: Reader, words: nn.Embedding
) -> Decoder:
    dropped, features = rates(settings.dropout), shape.embedding
    hidden, form = config.output_width(settings.cell, shape.hidden), _form(shape, settings.context)
    context = _context(settings.context, shape, hidden, reader)
    seen = context.width if context else 0
    readout = Readout(
        shape.readout,
        hidden,
        seen * form.reads_context,
        features * form.reads_words,
        features if shape.tied else hidden,
    )
    read = features + seen * (form.early or isinstance(context, Summary)) + readout.width * form.feeding
    stack = Stack(
        cell_class(settings.cell),
        read,
        config.widths(shape),
        rates=dropped,
        engine=settings.engine,
        residual=shape.residual,
    )
    return Decoder(words, stack, Bridge(shape.bridge, reader.sizes, stack), context, readout, form, dropped)


def _form(shape: config.EncoderDecoderShape, choice: config.Context) -> Form:
    words = shape.readout != "plain" or choice.name == "every_step_output"
    if isinstance(choice, config.SummaryContext):
        return Form(reads_context=choice.name == "every_step_output", reads_words=words)
    return Form(choice.query == "before", choice.input_feeding, reads_context=True, reads_words=words)


def _context(
    choice: config.Context, shape: config.EncoderDecoderShape, hidden: int, reader: Reader
) -> Attention | Summary | None:
    """What `context=` lets a decoder, `hidden` wide, see of the source beyond its first state."""
    match choice:
        case config.SummaryContext():
            return None if choice.name == "initial_state" else Summary(reader.sizes, shape.hidden)
        case config.LocationContext():
            return LocationAttention(hidden, reader.width, choice.channels, choice.window)
        case config.MultiheadContext():
            return MultiheadAttention(hidden, reader.width, choice.heads)
        case _:
            if choice.name == "dot":
                return DotAttention(reader.width)
            kinds = {"general": GeneralAttention, "additive": AdditiveAttention}
            return kinds[choice.name](hidden, reader.width)


def _embedding(vocabulary: int, features: int) -> nn.Embedding:
    embedding = nn.Embedding(vocabulary, features, padding_idx=PAD)
    nn.init.normal_(embedding.weight, std=features**-0.5)
    return embedding


def _output(words: nn.Embedding, hidden: int, tied: bool) -> nn.Linear:
    """The last layer, with the weights of the first where `tied` (Press and Wolf 2017)."""
    output = Linear(hidden, words.num_embeddings)
    nn.init.zeros_(output.bias)
    if tied:
        output.weight = words.weight
    return output


@dataclass(frozen=True)
class Decodable:
    """What a checkpoint holds for decoding."""

    model: nn.Module
    tokenizers: dict[str, Tokenizer]
    metrics: config.Metrics


def from_checkpoints(paths: Sequence[Path], code: str | None = None) -> Decodable:
    """Model and tokenizers out of nothing but the checkpoint, of several the mean of their weights; a cell of the user's own
    out of `code`, a file or module that the user names, and never out of one that the checkpoint names.

    Raises:
        Mistake: the checkpoint cannot be used, or needs `code` and there is none.
    """
    content = checkpoint.average([checkpoint.read(path, "checkpoint") for path in paths], "checkpoint")
    ours = content["throughtime"]
    settings = _with_code(config.check(ours["config"], config.TrainConfig), code)
    tokenizers = {side: tokenizer.from_state(state) for side, state in ours["tokenizers"].items()}
    built = model(settings, {side: found.size for side, found in tokenizers.items()})
    built.load_state_dict(
        {
            name.removeprefix("model."): value
            for name, value in content["state_dict"].items()
            if name.startswith("model.")
        }
    )
    return Decodable(built.eval(), tokenizers, settings.metrics)


def _with_code(settings: config.TrainConfig, code: str | None) -> config.TrainConfig:
    """The settings of a checkpoint with the place of the user's own cell, if it has one, as the user gives it."""
    if not isinstance(settings.cell, config.OwnCell):
        return settings
    place, _, name = (settings.cell.path or "").rpartition(":")
    if code is None:
        raise config.wrong("allow_code", None, f"{place}, if you trust it: the checkpoint needs its class {name}")
    own_cell(f"{code}:{name}", "allow_code")
    return replace(settings, cell=replace(settings.cell, path=f"{code}:{name}"))


def task(settings: config.TrainConfig, prepared: Prepared) -> Task:
    """The LightningModule around a fresh model."""
    torch.manual_seed(settings.seed)
    built = model(settings, {side: found.size for side, found in prepared.tokenizers.items()})
    about = checkpoint.about(settings, prepared)
    if not isinstance(built, LanguageModel):
        return TranslationTask(built, settings, about)
    splits = {"val": "validation", "test": "test"}
    facts = {short: prepared.facts["splits"][split] for short, split in splits.items()}
    rates = {short: fact["tokens"] / fact["characters"] for short, fact in facts.items()}
    return LanguageModelTask(built, settings, about, rates)


def datamodule(settings: config.TrainConfig, prepared: Prepared) -> LightningDataModule:
    """The loaders of a text or of pairs."""
    if not config.reads_text(settings.data):
        return PairModule(prepared, settings.batch, settings.seed)
    return StreamModule(prepared, settings.batch, settings.tbptt, settings.seed)


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
    # A limit in steps ends validation intervals across epochs, so that the interval may be longer than an epoch.
    batches = choice.validate_every and choice.validate_every * choice.accumulate
    interval: dict[str, Any] = {"val_check_interval": batches, "check_val_every_n_epoch": None}
    return Trainer(
        max_epochs=choice.epochs,
        max_steps=choice.steps or -1,
        max_time=timedelta(minutes=choice.minutes) if choice.minutes else None,
        **(interval if choice.validate_every else {}),
        accelerator=choice.accelerator,
        devices=choice.devices,
        strategy="ddp" if world > 1 else "auto",
        precision=precision(choice),
        accumulate_grad_batches=choice.accumulate,
        callbacks=_callbacks(settings, prepared, tracker, progress, folder),
        logger=tracker.loggers,
        plugins=[checkpoint.WholeFiles()],
        default_root_dir=folder,
        log_every_n_steps=settings.log_every,
        num_sanity_val_steps=0,
        inference_mode=not isinstance(settings.evaluation, config.DynamicEvaluation),  # which takes gradients
        use_distributed_sampler=False,  # would shuffle the columns; every rank owns its own
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
    )


def precision(choice: config.Trainer) -> Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]:
    """That of the training; `auto` is bf16 where the device has such products.

    Raises:
        Mistake: the device has no products of the precision.
    """
    found = device(choice.accelerator)
    reasons = {"bf16-mixed": why_not("bf16", found), "16-mixed": None if found.type != "cpu" else "it needs a GPU"}
    if choice.precision == "auto":
        return "32-true" if reasons["bf16-mixed"] else "bf16-mixed"
    if reason := reasons.get(choice.precision):
        raise config.wrong("trainer.precision", choice.precision, f"auto, 32-true or 64-true here, as {reason}")
    return choice.precision


def _callbacks(
    settings: config.TrainConfig, prepared: Prepared, tracker: Tracker, progress: Progress, folder: Path
) -> list[Callback]:
    monitor, mode = monitored(settings), quality.direction(monitored(settings))
    always = {
        "dirpath": folder / "checkpoints",
        "enable_version_counter": False,
        "save_on_train_epoch_end": False,
    }
    callbacks = [
        Clipping(settings.trainer.clip, settings.log_every),
        Decoding(settings, prepared, tracker, folder / "samples"),
        *averaging(settings.averaging),  # behind the decoding, which is to see the averaged weights
        progress,
        Ending(),
        Best(monitor=monitor, mode=mode, filename="best", **always),  # type: ignore[arg-type]
        *kept(settings.trainer.keep, folder / "checkpoints", monitor, mode),
        ModelCheckpoint(filename="last", **always),  # type: ignore[arg-type]  # behind the others, whose state it holds
    ]
    callbacks.append(Interruption(folder / "checkpoints" / "last.ckpt"))
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar(leave=False))
    if settings.trainer.early_stopping.patience is not None:
        callbacks.append(Patience(monitor, settings.trainer.early_stopping.patience, mode))
    return callbacks


def device(accelerator: str) -> torch.device:
    """The device of `accelerator=`, where one process does all."""
    refuse_absent(accelerator, 1, "accelerator")
    chosen = _found(accelerator)
    return torch.device("cuda" if chosen == "gpu" else chosen)


def _found(accelerator: str) -> str:
    """What `auto` is here."""
    there = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return next(name for name in there if there[name]) if accelerator == "auto" else accelerator


def refuse_absent(accelerator: str, devices: int, setting: str) -> None:
    """Refuses an accelerator, or more of its devices, than this machine has."""
    there = {"gpu": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    accelerator = _found(accelerator)
    if accelerator in there and not there[accelerator]:
        raise config.wrong(setting, accelerator, "auto or cpu on this machine, which has no such device")
    if accelerator in there and devices > there[accelerator]:
        raise config.wrong(
            setting.replace("accelerator", "devices"),
            devices,
            f"at most the {there[accelerator]} of this machine",
        )
