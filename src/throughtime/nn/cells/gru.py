"""The gated recurrent unit (Cho et al. 2014), in its two forms; in both z keeps the old state."""

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState, Stage


class Gru(Cell):
    """The form that torch and cuDNN compute: the reset gate acts after the recurrent product, and z keeps the old state.

    r = sigmoid(W_r x_t + b_r + R_r h_{t-1} + c_r)
    z = sigmoid(W_z x_t + b_z + R_z h_{t-1} + c_z)
    n = tanh(W_n x_t + b_n + r * (R_n h_{t-1} + c_n))
    h_t = (1 - z) * n + z * h_{t-1}

    Gates in the order r, z, n.
    """

    states = ("h",)
    gates = 3
    keeps = 1

    @staticmethod
    def step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState, kept: Tensor | None = None) -> CellState:
        """One step; `kept`: a factor for n, by dropout."""
        input_r, input_z, input_n = input_gates.chunk(3, dim=-1)
        recurrent_r, recurrent_z, recurrent_n = recurrent_gates.chunk(3, dim=-1)
        z = torch.sigmoid(input_z + recurrent_z)
        n = torch.tanh(input_n + torch.sigmoid(input_r + recurrent_r) * recurrent_n)
        n = n if kept is None else kept * n
        return {"h": (1 - z) * n + z * state["h"]}


class ChoGru(Cell):
    """The form of the paper (Cho et al. 2014) and of most lectures: the reset gate acts before the product. As in the
    paper, z keeps the old state; in many lectures (and Chung et al. 2014) 1 - z does.

    r = sigmoid(W_r x_t + b_r + R_r h_{t-1} + c_r)
    z = sigmoid(W_z x_t + b_z + R_z h_{t-1} + c_z)
    n = tanh(W_n x_t + b_n + R_n (r * h_{t-1}) + c_n)
    h_t = (1 - z) * n + z * h_{t-1}

    Gates in the order r, z, n.
    """

    states = ("h",)
    gates = 3
    keeps = 1

    @staticmethod
    def _gate(input_gates: Tensor, product: Tensor, state: CellState) -> CellState:
        width = product.shape[-1]
        r, z = torch.sigmoid(input_gates[..., :width] + product).chunk(2, dim=-1)
        return {"z": z, "reset": r * state["h"]}

    @staticmethod
    def _renew(input_gates: Tensor, product: Tensor, carried: CellState) -> CellState:
        z, n = carried["z"], torch.tanh(input_gates.chunk(3, dim=-1)[2] + product)
        return {"h": (1 - z) * n + z * carried["h"]}

    def stages(self) -> tuple[Stage, ...]:
        return Stage("h", 2, self._gate), Stage("reset", 1, self._renew)


class MinimalGru(Cell):
    """The minimal gated unit (Zhou et al. 2016): one gate that resets before the product and lets the new in.

    f = sigmoid(W_f x_t + b_f + R_f h_{t-1} + c_f)
    n = tanh(W_n x_t + b_n + R_n (f * h_{t-1}) + c_n)
    h_t = (1 - f) * h_{t-1} + f * n

    Gates in the order f, n. Though it is called the forget gate, 1 - f keeps the old state.
    """

    states = ("h",)
    gates = 2
    writes = 0

    @staticmethod
    def _gate(input_gates: Tensor, product: Tensor, state: CellState) -> CellState:
        f = torch.sigmoid(input_gates.chunk(2, dim=-1)[0] + product)
        return {"f": f, "reset": f * state["h"]}

    @staticmethod
    def _renew(input_gates: Tensor, product: Tensor, carried: CellState) -> CellState:
        f, n = carried["f"], torch.tanh(input_gates.chunk(2, dim=-1)[1] + product)
        return {"h": (1 - f) * carried["h"] + f * n}

    def stages(self) -> tuple[Stage, ...]:
        return Stage("h", 1, self._gate), Stage("reset", 1, self._renew)
