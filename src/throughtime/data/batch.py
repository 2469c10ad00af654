"""The two kinds of batch. Both carry token ids only; a model needs nothing else."""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.data.tokenizer import PAD

IGNORED = -100  # a target that counts neither in the loss nor in a metric


class TextChunk(NamedTuple):
    """Some time steps of the parallel columns of a text.

    `tokens` and `targets`: (columns, time); `targets[:, t]` follows `tokens[:, t]`. `first` says that the columns begin
    here, so that nothing is carried in.
    """

    tokens: Tensor
    targets: Tensor
    first: bool


class PairBatch(NamedTuple):
    """Pairs of about equal length.

    `source`: (batch, source time), ends in eos, then pad; `source_lengths`: (batch,) with eos; `tokens` and `targets`:
    (batch, target time), bos + target and target + eos; `rows`: (batch,), the pairs' places in their split.
    """

    source: Tensor
    source_lengths: Tensor
    tokens: Tensor
    targets: Tensor
    rows: Tensor


def pad(sequences: list[list[int]], filler: int = PAD) -> Tensor:
    """(batch, longest) with `filler` behind the shorter ones."""
    longest = max(map(len, sequences))
    return torch.tensor([[*ids, *[filler] * (longest - len(ids))] for ids in sequences])
