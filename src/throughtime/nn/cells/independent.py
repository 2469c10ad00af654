"""The independently recurrent network (Li et al. 2018): no unit sees another's state."""

import torch
from torch import Tensor, nn

from throughtime.nn.cells.base import Cell, CellState, Stage


class IndRnn(Cell):
    """h_t = max(0, W x_t + b + u * h_{t-1}), with a vector u in place of a recurrent matrix.

    u starts uniform between 0 and 1, so that the units forget over different spans; it is not clipped afterwards, which
    the paper does for its longest sequences.
    """

    states = ("h",)
    gates = 1
    blocks = 0
    vectors = ("recurrent",)

    def __init__(self, features: int, hidden: int):
        super().__init__(features, hidden)
        self.recurrent = nn.Parameter(torch.rand(hidden))

    @staticmethod
    def step(input_gates: Tensor, _: None, state: CellState, recurrent: Tensor) -> CellState:
        return {"h": torch.relu(input_gates + recurrent * state["h"])}

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(None, 0, self.step),)
