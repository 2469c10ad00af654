"""The mean of several checkpoints of one run."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from throughtime import config


def average(contents: Sequence[dict[str, Any]], setting: str) -> dict[str, Any]:
    """The last of some checkpoints of one run, with the mean of all their weights (Junczys-Dowmunt et al. 2016).

    Raises:
        Mistake: they are not of one run.
    """
    *others, last = contents
    if any(_origin(other) != _origin(last) for other in others):
        theirs = [_origin(content) for content in contents]
        (differing, *_) = [part for part in theirs[-1] if any(other[part] != theirs[-1][part] for other in theirs)]
        allowed = f"such of one run and model, to be averaged, and their {differing} differs"
        raise config.wrong(setting, f"{len(contents)} checkpoints", allowed)
    weights = [content["state_dict"] for content in contents]
    return {**last, "state_dict": {name: _mean([state[name] for state in weights]) for name in last["state_dict"]}}


def _origin(content: dict[str, Any]) -> dict[str, Any]:
    """What checkpoints must share to be averaged: weights are comparable only within one training."""
    ours = content["throughtime"]
    shared = {
        group: ours["config"][group] for group in ("seed", "data", "tokenizer", "model", "cell", "encoder", "context")
    }
    shapes = {name: weight.shape for name, weight in content["state_dict"].items()}
    return {**shared, "tokenizers": ours["tokenizers"], "shapes": shapes}


def _mean(weights: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(weights)).double().mean(dim=0).to(weights[0].dtype)
