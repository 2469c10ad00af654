"""A checkpoint -> what decoding needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from throughtime import config
from throughtime.build.models import model
from throughtime.data import tokenizer
from throughtime.data.tokenizer import Tokenizer
from throughtime.nn.cells.own import own_cell
from throughtime.train import checkpoint, checkpoint_mean


@dataclass(frozen=True)
class Decodable:
    """What a checkpoint holds for decoding. `ends`: whether a language model has learned where a line ends, unlike one whose
    documents are longer."""

    model: nn.Module
    tokenizers: dict[str, Tokenizer]
    ends: bool


def from_checkpoints(paths: Sequence[Path], code: str | None = None) -> Decodable:
    """Model and tokenizers out of nothing but the checkpoint, of several the mean of their weights; a cell of the user's own
    out of `code`, a file or module that the user names, and never out of one that the checkpoint names.

    Raises:
        Mistake: the checkpoint cannot be used, or needs `code` and there is none.
    """
    content = checkpoint_mean.average([checkpoint.read(path, "checkpoint") for path in paths], "checkpoint")
    ours = content["throughtime"]
    settings = _with_code(config.check(ours["config"], config.TrainConfig), code)
    tokenizers = {side: tokenizer.from_state(state) for side, state in ours["tokenizers"].items()}
    built = model(settings, {side: found.size for side, found in tokenizers.items()})
    built.load_state_dict(checkpoint.weights(content))
    return Decodable(built.eval(), tokenizers, _ends(settings.data))


def _ends(data: config.Data) -> bool:
    """Whether the documents of a text are as long as what is decoded: a line, or a row."""
    return isinstance(data, config.HubDataset) or (isinstance(data, config.TextFiles) and data.documents == "lines")


def _with_code(settings: config.TrainConfig, code: str | None) -> config.TrainConfig:
    """The settings of a checkpoint with the place of the user's own cell, if it has one, as the user gives it."""
    if not isinstance(settings.cell, config.OwnCell):
        return settings
    place, _, name = (settings.cell.path or "").rpartition(":")
    if code is None:
        raise config.wrong("allow_code", None, f"{place}, if you trust it: the checkpoint needs its class {name}")
    own_cell(f"{code}:{name}", "allow_code")
    return replace(settings, cell=replace(settings.cell, path=f"{code}:{name}"))
