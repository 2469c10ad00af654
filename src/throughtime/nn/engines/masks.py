"""Which steps count, and before which the state begins anew: settled once, for every engine and cell alike."""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.nn.cells.base import CellState


class Masks(NamedTuple):
    """`running` (batch, time): steps that count; at the others a row's state stays and its output is zero.
    `resets` (batch, time): steps before which a row's state begins anew.
    """

    running: Tensor
    resets: Tensor

    def slices(self, time: int) -> tuple[Tensor, Tensor]:
        """Both at one step, (batch, 1)."""
        return self.running[:, time, None], self.resets[:, time, None]


def masks(inputs: Tensor, lengths: Tensor | None, resets: Tensor | None) -> Masks | None:
    """The masks of a batch (batch, time, ...), or None where every step counts and nothing begins anew."""
    if lengths is None and resets is None:
        return None
    everywhere = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
    running = everywhere if lengths is None else torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
    return Masks(running, ~everywhere if resets is None else resets)


def choose(mask: Tensor, these: CellState, others: CellState) -> CellState:
    """Row by row: these where the mask (batch, 1) holds, else the others."""
    return {name: torch.where(mask, these[name], others[name]) for name in these}
