"""Which steps count, and before which the state starts afresh: settled once, for every engine and cell alike."""

from typing import NamedTuple

import torch
from torch import Tensor


class Masks(NamedTuple):
    """`running` (batch, time): steps that count; at the others a row's state stays and its output is zero.
    `resets` (batch, time): steps before which a row's state starts afresh.
    """

    running: Tensor
    resets: Tensor

    def slices(self, time: int) -> tuple[Tensor, Tensor]:
        """Both at one step, (batch, 1)."""
        return self.running[:, time, None], self.resets[:, time, None]


def masks(inputs: Tensor, lengths: Tensor | None, resets: Tensor | None) -> Masks | None:
    """The masks of a batch (batch, time, ...), or None where every step counts and no state is reset."""
    if lengths is None and resets is None:
        return None
    everywhere = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
    return Masks(everywhere if lengths is None else counted(inputs, lengths), ~everywhere if resets is None else resets)


def counted(sequence: Tensor, lengths: Tensor) -> Tensor:
    """(batch, time, ...) and lengths (batch,) -> (batch, time), true where a step counts."""
    return torch.arange(sequence.shape[1], device=sequence.device) < column(lengths, sequence)


def column(lengths: Tensor, sequence: Tensor) -> Tensor:
    """Lengths (batch,) on the CPU -> (batch, 1) on the sequence's device, without waiting for it."""
    return lengths[:, None].to(sequence.device, non_blocking=True)
