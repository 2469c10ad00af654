"""`start_from=`: a new run begins with the weights that another has learned, and with nothing else of it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from throughtime import config
from throughtime.data.tokenizer import INSTEAD
from throughtime.train import checkpoint
from throughtime.train.task import Task


def begin(task: Task, start: Path) -> None:
    """Gives a task's model the weights of a checkpoint; a language model's fit a `prefix_lm`, and the other way round.

    Raises:
        Mistake: its vocabulary is another, some weight has another shape, or one weight here was two there.
    """
    content = checkpoint.read(start, "start_from")
    _refuse_other_vocabulary(task.about["tokenizers"], content["throughtime"]["tokenizers"], start)
    given, own = _standing_alone(checkpoint.weights(content)), _standing_alone(task.model.state_dict())
    for name in [*own, *given]:
        there, here = (_size(weights.get(name)) for weights in (given, own))
        if there != here:
            fitting = f"a checkpoint whose weights fit this model, and {name} is {there} there and {here} here"
            raise config.wrong("start_from", start, fitting)
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(given[name])
    for name, weight in own.items():
        if not torch.equal(weight, given[name].to(weight)):
            apart = (
                f"a checkpoint of a model with the same model.tied and model.shared_embedding, and its {name} differs"
            )
            raise config.wrong("start_from", start, apart)


def _refuse_other_vocabulary(ours: dict[str, Any], theirs: dict[str, Any], start: Path) -> None:
    for side, vocabulary in ours.items():
        if vocabulary != theirs.get(side, theirs.get(INSTEAD[side])):
            allowed = (
                f"a checkpoint with this run's vocabulary; tokenizer=taken takes that of a run (the {side} differs)"
            )
            raise config.wrong("start_from", start, allowed)


def _standing_alone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that a language model's have which does not read pairs."""
    return {name.removeprefix("language_model."): weight for name, weight in weights.items()}


def _size(weight: Tensor | None) -> str:
    return "absent" if weight is None else " x ".join(map(str, weight.shape))
