"""The sLSTM of xLSTM (Beck et al. 2024): exponential input gates, a normaliser, and a memory mixed within heads."""

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState
from throughtime.nn.cells.start import Start

EXACT = 40.0  # beyond this, log(1 + exp(x)) - x vanishes even in float64


class Slstm(Cell):
    """Gates in the order i, f, z, o; each a = W x_t + b + R h_{t-1} + c, R block-diagonal with one block for each head.

    z = tanh(a_z), o = sigmoid(a_o)
    m_t = max(log sigmoid(a_f) + m_{t-1}, a_i)
    i = exp(a_i - m_t), f = exp(log sigmoid(a_f) + m_{t-1} - m_t)
    c_t = f * c_{t-1} + i * z
    n_t = f * n_{t-1} + i
    h_t = o * c_t / n_t

    The stabiliser m only keeps the exponentials small: it cancels in c_t / n_t. A fresh state is empty, n = 0 and
    m = -infinity, so that the first step has i = 1, and n_t >= 1 from then on; a decoder therefore takes over h alone.
    weight_hidden (4 * hidden, hidden / heads), gate by gate and head by head. The forget gate's bias starts at 1. The
    convolution and the group normalisation that xLSTM puts around it are not part of the cell.
    """

    states = ("h", "c", "n", "m")
    gates = 4
    bridged = ("h",)
    keeps, writes = 1, 0
    start = Start(forget_bias=1.0)

    def __init__(self, features: int, hidden: int, start: Start | None = None, heads: int = 1):
        super().__init__(features, hidden, start, recurrent=(4 * hidden, hidden // heads))

    @property
    def initialised_together(self) -> int:
        """How many rows of the recurrent weight are initialised together: those of a head in one gate."""
        return self.weight_hidden.shape[1]

    def initial_state(self, rows: int) -> CellState:
        zeros = super().initial_state(rows)
        return {**zeros, "m": torch.full_like(zeros["m"], -torch.inf)}

    @staticmethod
    def step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState) -> CellState:
        i, f, z, o = (input_gates + recurrent_gates).chunk(4, dim=-1)
        kept = state["m"] - F.softplus(-f, threshold=EXACT)  # log sigmoid(a_f) + m_{t-1}
        ahead = i - kept
        less, m = torch.exp(-ahead.abs()), torch.where(ahead > 0, i, kept)
        i, f = torch.where(ahead > 0, 1.0, less), torch.where(ahead > 0, less, 1.0)  # the greater of the two is 1
        c, n = f * state["c"] + i * torch.tanh(z), f * state["n"] + i
        return {"h": torch.sigmoid(o) * c / n, "c": c, "n": n, "m": m}

    def matrices(self) -> list[tuple[Tensor, Tensor | None]]:
        size = self.weight_hidden.shape[1]
        heads = self.hidden // size
        blocks = self.weight_hidden.view(4, heads, size, size)
        alone = torch.eye(heads, dtype=blocks.dtype, device=blocks.device)
        dense = torch.einsum("ghij,hk->ghikj", blocks, alone)
        return [(dense.reshape(4 * self.hidden, self.hidden), self.bias_hidden)]
