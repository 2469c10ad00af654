"""The recurrent highway network (Zilly et al. 2016): several layers within one time step."""

from functools import partial

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState, Stage
from throughtime.nn.cells.start import Start


class RecurrentHighway(Cell):
    """`recurrence_depth` layers l = 1, 2, ... per step, the first of which sees the input; the carry gate is 1 - t.

    s_0 = h_{t-1}
    n = tanh(W_n x_t [l = 1] + b_n + R_n^l s_{l-1} + c_n^l)
    t = sigmoid(W_t x_t [l = 1] + b_t + R_t^l s_{l-1} + c_t^l)
    s_l = t * n + (1 - t) * s_{l-1}
    h_t = the last s_l

    The input's b, too, is added for l = 1 only. Gates in the order n, t; weight_hidden (recurrence_depth * 2 * hidden,
    hidden), layer by layer. Initially the state is kept, by a transform bias of -2 in every layer.
    """

    states = ("h",)
    gates = 2
    writes = 1
    start = Start(forget_bias=2.0)

    def __init__(self, features: int, hidden: int, start: Start | None = None, recurrence_depth: int = 3):
        self._depth = recurrence_depth
        super().__init__(features, hidden, start, recurrent=(recurrence_depth * 2 * hidden, hidden))

    def initialise(self) -> None:
        super().initialise()
        for _, transform in self.bias_hidden.data.view(self._depth, 2, self.hidden)[1:]:
            transform.copy_(-self.start.keeping(transform))

    @staticmethod
    def _layer(input_gates: Tensor, product: Tensor, carried: CellState, first: bool) -> CellState:
        n, t = (input_gates + product if first else product).chunk(2, dim=-1)
        t = torch.sigmoid(t)
        return {"h": t * torch.tanh(n) + (1 - t) * carried["h"]}

    def stages(self) -> tuple[Stage, ...]:
        return tuple(Stage("h", 2, partial(self._layer, first=place == 0)) for place in range(self._depth))
