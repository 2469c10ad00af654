"""The gated recurrent unit (Cho et al. 2014), in the form that torch and cuDNN compute."""

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState


class Gru(Cell):
    """Gates in the order r, z, n; the reset gate acts after the recurrent product, and z keeps the old state.

    r = sigmoid(W_r x_t + b_r + R_r h_{t-1} + c_r)
    z = sigmoid(W_z x_t + b_z + R_z h_{t-1} + c_z)
    n = tanh(W_n x_t + b_n + r * (R_n h_{t-1} + c_n))
    h_t = (1 - z) * n + z * h_{t-1}
    """

    states = ("h",)
    gates = 3

    @staticmethod
    def step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState) -> CellState:
        input_r, input_z, input_n = input_gates.chunk(3, dim=-1)
        recurrent_r, recurrent_z, recurrent_n = recurrent_gates.chunk(3, dim=-1)
        z = torch.sigmoid(input_z + recurrent_z)
        n = torch.tanh(input_n + torch.sigmoid(input_r + recurrent_r) * recurrent_n)
        return {"h": (1 - z) * n + z * state["h"]}
