"""Checkpoints -> what answers lines with them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from throughtime import build, config
from throughtime.data.tokenizer import Tokenizer
from throughtime.nn.models import LanguageModel
from throughtime.nn.precision import chosen
from throughtime.search import Stepper, stepper_of


@dataclass(frozen=True)
class Loaded:
    """A model that can take steps, the tokenizers of what it reads and writes, and whether it is a language model, which
    continues what it reads."""

    stepper: Stepper
    reads: Tokenizer
    writes: Tokenizer
    continues: bool


def load(settings: config.DecodeConfig, paths: list[Path], device: torch.device) -> Loaded:
    """The model of a checkpoint, or of several, on a device."""
    found = build.from_checkpoints(paths, settings.allow_code)
    continues = isinstance(found.model, LanguageModel)
    reads, writes = ("text", "text") if continues else ("source", "target")
    stepper = stepper_of(found.model.to(device), chosen(settings.precision, device))
    return Loaded(stepper, found.tokenizers[reads], found.tokenizers[writes], continues)
