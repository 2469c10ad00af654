"""The vanilla recurrent cell (Elman 1990)."""

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState


class TanhRnn(Cell):
    """h_t = tanh(W x_t + b + R h_{t-1} + c)."""

    states = ("h",)
    gates = 1

    @staticmethod
    def step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState) -> CellState:
        return {"h": torch.tanh(input_gates + recurrent_gates)}


class ReluRnn(Cell):
    """h_t = max(0, W x_t + b + R h_{t-1} + c); with R = 1 at first it is the IRNN (Le et al. 2015)."""

    states = ("h",)
    gates = 1

    @staticmethod
    def step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState) -> CellState:
        return {"h": torch.relu(input_gates + recurrent_gates)}
