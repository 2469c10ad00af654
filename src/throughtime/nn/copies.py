"""Copies of a model that share its weights, with some of its parts replaced."""

import copy
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from throughtime.nn.stack import Layer

Model = TypeVar("Model", bound=nn.Module)


def evaluating(model: Model) -> Model:
    """A copy in evaluation mode that shares the model's parameters and buffers. Nothing is compiled for it, as a job is
    often over before a compiler is."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    found = copy.deepcopy(model, shared).eval()
    for part in found.modules():
        if isinstance(part, Layer):
            part.engine = "uncompiled"
    return found


def exchange(model: nn.Module, other: Callable[[nn.Module], nn.Module]) -> None:
    """Replaces each part of a model with what `other` makes of it."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            setattr(parent, name, other(child))
