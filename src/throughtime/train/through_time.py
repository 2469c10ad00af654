"""A chunk of text read through time: its loss, and the state that is carried to the next chunk."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from throughtime import config
from throughtime.data.batch import TextChunk
from throughtime.nn.models import LanguageModel
from throughtime.nn.stack import StackState
from throughtime.nn.state import detach, leaves, with_leaves
from throughtime.train.awd_penalty import awd_penalty
from throughtime.train.output_loss import output_loss


class Reading(NamedTuple):
    """The summed loss in nats of a chunk's targets, their number, what the regularisation adds to the mean, and the
    state to carry to the next chunk, without its gradient."""

    total: Tensor
    targets: Tensor
    penalty: Tensor
    onward: StackState


def read(model: LanguageModel, chunk: TextChunk, state: StackState, dropout: config.Dropout) -> Reading:
    """Reads the chunk at once from the state that it begins with. If the state to carry on is that of a step inside it
    (`tbptt=windows`), reads it in two parts, each with its own dropout."""
    parts, onward = [], state
    for begin, end in ((0, chunk.onward), (chunk.onward, chunk.tokens.shape[1])):
        if begin < end:
            resets = None if chunk.resets is None else chunk.resets[:, begin:end]
            outputs, state = model.outputs(chunk.tokens[:, begin:end], state, resets)
            parts.append(outputs)
        onward = state if end == chunk.onward else onward
    outputs = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))[:, -chunk.targets.shape[1] :]
    return Reading(*_losses(model, chunk.targets, outputs, dropout), detach(onward))


def read_checkpointed(
    model: LanguageModel, chunk: TextChunk, state: StackState, dropout: config.Dropout, steps: int | None
) -> Reading:
    """Reads a whole text with its gradient, in the memory of one part of `steps` steps and of the states between parts:
    the backward pass reads each part again (Chen et al. 2016), with the same dropout, which differs from part to part.

    The weights are passed as arguments, so that DDP sees each one's gradient once; and the first reading keeps no graph
    at all, as engines with a backward pass of their own keep more than autograd can drop.
    """
    whole = chunk.tokens.shape[1]
    part, length = _Part(model, dropout, state, whole), steps or math.isqrt(whole - 1) + 1
    names, weights = zip(*part.named_parameters(), strict=True)

    def run(at: int, before: Tensor | None, *tensors: Tensor) -> tuple[Tensor, ...]:
        given, some = dict(zip(names, tensors, strict=False)), chunk.part(at, at + length)
        found: tuple[Tensor, ...] = torch.func.functional_call(part, given, (some, before, *tensors[len(names) :]))
        return found

    before, carried = None, leaves(state)
    sums: list[tuple[Tensor, ...]] = []
    for at in range(0, whole, length):
        found = checkpoint(run, at, before, *weights, *carried, use_reentrant=True)
        sums.append(found[:3])
        before, carried = found[3], found[4:]
    total, targets, penalty = (torch.stack(parts).sum(0) for parts in zip(*sums, strict=True))
    return Reading(total, targets, penalty, detach(with_leaves(state, carried)))


class _Part(nn.Module):
    """Part of a text of `whole` steps as a function of tensors: losses, the last output, the state's leaves."""

    def __init__(self, model: LanguageModel, dropout: config.Dropout, state: StackState, whole: int):
        super().__init__()
        self.model, self._dropout, self._state, self._whole = model, dropout, state, whole

    def forward(self, chunk: TextChunk, before: Tensor | None, *carried: Tensor) -> tuple[Tensor, ...]:
        outputs, state = self.model.outputs(chunk.tokens, with_leaves(self._state, carried), chunk.resets)
        losses = _losses(self.model, chunk.targets, outputs, self._dropout, before, self._whole)
        kept = [outputs[:, -1:], *leaves(state)]
        return (*losses, *(tensor.clone() for tensor in kept))  # a view would keep all steps alive


def _losses(
    model: LanguageModel,
    targets: Tensor,
    outputs: Tensor,
    dropout: config.Dropout,
    before: Tensor | None = None,
    whole: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The summed loss of outputs (batch, time, width), the number of targets, and the penalty of `awd_penalty`."""
    dropped = model.dropout(outputs)
    losses = output_loss(model.output, dropped, targets)
    return losses.minimised, losses.targets, awd_penalty(outputs, dropped, dropout, before, whole)
