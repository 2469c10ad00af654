"""The long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState


class Lstm(Cell):
    """Gates in the order i, f, g, o; each a = W x_t + b + R h_{t-1} + c.

    i = sigmoid(a_i), f = sigmoid(a_f), g = tanh(a_g), o = sigmoid(a_o)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

    The forget gate's bias starts at 1 (Jozefowicz et al. 2015).
    """

    states = ("h", "c")
    gates = 4

    def initialise(self) -> None:
        super().initialise()
        self.bias_input.data.chunk(self.gates)[1].fill_(1.0)

    @staticmethod
    def step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState) -> CellState:
        i, f, g, o = (input_gates + recurrent_gates).chunk(4, dim=-1)
        c = torch.sigmoid(f) * state["c"] + torch.sigmoid(i) * torch.tanh(g)
        return {"h": torch.sigmoid(o) * torch.tanh(c), "c": c}
