"""What every cell is: parameters, and one pure step between products that the engine computes."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CellState = dict[str, Tensor]


class Cell(nn.Module, ABC):
    """A recurrent cell, `gates` blocks of `hidden` units wide.

    Per step it sees x_t W^T + b (`project`, one product for all steps) and h_{t-1} R^T + c (`recur`, one product a step);
    `step` is the pointwise rest. The parameters are those of torch's own recurrent layers, in the same gate order.

    weight_input: (gates * hidden, features), weight_hidden: (gates * hidden, hidden), both biases: (gates * hidden,).
    """

    states: ClassVar[tuple[str, ...]]  # names of the state tensors, the output first
    gates: ClassVar[int]

    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.features, self.hidden = features, hidden
        self.weight_input = nn.Parameter(torch.empty(self.gates * hidden, features))
        self.weight_hidden = nn.Parameter(torch.empty(self.gates * hidden, hidden))
        self.bias_input = nn.Parameter(torch.empty(self.gates * hidden))
        self.bias_hidden = nn.Parameter(torch.empty(self.gates * hidden))
        self.initialise()

    def initialise(self) -> None:
        """Glorot input weights, orthogonal recurrent weights gate by gate, biases zero."""
        for block in self.weight_input.data.chunk(self.gates):
            nn.init.xavier_uniform_(block)
        for block in self.weight_hidden.data.chunk(self.gates):
            nn.init.orthogonal_(block)
        nn.init.zeros_(self.bias_input)
        nn.init.zeros_(self.bias_hidden)

    def initial_state(self, rows: int) -> CellState:
        """All zeros, each (rows, hidden)."""
        return {name: self.weight_hidden.new_zeros(rows, self.hidden) for name in self.states}

    def project(self, inputs: Tensor) -> Tensor:
        """(..., features) -> (..., gates * hidden), for as many steps at once as there are."""
        return F.linear(inputs, self.weight_input, self.bias_input)

    def recur(self, state: CellState) -> Tensor:
        """The state's product, (batch, gates * hidden)."""
        return F.linear(state[self.states[0]], self.weight_hidden, self.bias_hidden)

    @staticmethod
    @abstractmethod
    def step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState) -> CellState:
        """One time step, pointwise: both products (batch, gates * hidden) and the old state -> the new state."""
