"""The two kinds of batch. Both carry token ids only; a model needs nothing else."""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.data.tokenizer import PAD

IGNORED = -100  # a target that counts neither in the loss nor in a metric


class TextChunk(NamedTuple):
    """Some time steps of the parallel columns of a text.

    `tokens`: (columns, time); `targets`: (columns, scored), those that follow the last `scored` tokens. `first` says that
    the columns begin here, so that nothing is carried in; after `onward` steps the state is carried to the next chunk.
    `resets`: (columns, time), steps before which the state starts afresh; None where there are none.
    """

    tokens: Tensor
    targets: Tensor
    first: bool
    onward: int
    resets: Tensor | None = None

    def part(self, begin: int, end: int) -> "TextChunk":
        """Some of its steps; the targets are those of a chunk that scores every step."""
        resets = None if self.resets is None else self.resets[:, begin:end]
        return self._replace(tokens=self.tokens[:, begin:end], targets=self.targets[:, begin:end], resets=resets)


class PairBatch(NamedTuple):
    """Pairs of about equal length.

    `source`: (batch, source time), ends in eos, then pad; `source_lengths`: (batch,) with eos, on the CPU; `tokens` and
    `targets`: (batch, target time), bos + target and target + eos.
    """

    source: Tensor
    source_lengths: Tensor
    tokens: Tensor
    targets: Tensor

    def to(self, device: torch.device | str) -> "PairBatch":
        """The same on a device, but for the lengths: what runs is chosen by them, and nobody waits for a GPU to tell."""
        return PairBatch(
            self.source.to(device, non_blocking=True),
            self.source_lengths,
            self.tokens.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
        )


def pad(sequences: list[list[int]], filler: int = PAD) -> Tensor:
    """(batch, longest) with `filler` after the shorter ones."""
    longest = max(map(len, sequences))
    return torch.tensor([[*ids, *[filler] * (longest - len(ids))] for ids in sequences])
