"""The structurally constrained recurrent network (Mikolov et al. 2014): fast units beside slow ones that leak."""

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState, Stage
from throughtime.nn.cells.start import Start


class Scrn(Cell):
    """`hidden` fast units f and `slow` context units s; both are the output and the state, h_t = [f_t, s_t].

    s_t = (1 - alpha) * (B x_t + b_s) + alpha * s_{t-1}
    f_t = sigmoid(A x_t + b_f + R f_{t-1} + P s_t)

    weight_input [A, B] (hidden + slow, features), weight_hidden [R, P] (hidden, hidden + slow). The biases b, not in the
    paper, start at 0.
    """

    states = ("h",)
    gates = 1
    biased = False

    def __init__(self, features: int, hidden: int, start: Start | None = None, slow: int = 40, alpha: float = 0.95):
        width = hidden + slow
        super().__init__(features, hidden, start, sizes={"h": width}, rows=width, recurrent=(hidden, width))
        self._alpha = alpha

    def _leak(self, inputs: Tensor, _: None, state: CellState) -> CellState:
        fast, slow = state["h"][..., : self.hidden], state["h"][..., self.hidden :]
        slow = (1 - self._alpha) * inputs[..., self.hidden :] + self._alpha * slow
        return {"leaked": torch.cat([fast, slow], dim=-1)}

    def _react(self, inputs: Tensor, product: Tensor, carried: CellState) -> CellState:
        fast = torch.sigmoid(inputs[..., : self.hidden] + product)
        return {"h": torch.cat([fast, carried["leaked"][..., self.hidden :]], dim=-1)}

    def stages(self) -> tuple[Stage, ...]:
        return Stage(None, 0, self._leak), Stage("leaked", 1, self._react)
