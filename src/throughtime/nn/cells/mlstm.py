"""The mLSTM of xLSTM (Beck et al. 2024): a matrix as memory, written by keys and values, read by queries."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState, Stage

LEAST = -80.0  # with less the quotient is practically 0 as well, but in float32 over infinity, without a derivative


class Mlstm(Cell):
    """`heads` memories, each with queries, keys and values of d = hidden / heads; all gates depend on the input alone.

    q = W_q x_t + b_q, k = (W_k x_t + b_k) / sqrt(d), v = W_v x_t + b_v, o = sigmoid(W_o x_t + b_o)
    m_t = max(log sigmoid(a_f) + m_{t-1}, a_i)
    i = exp(a_i - m_t), f = exp(log sigmoid(a_f) + m_{t-1} - m_t), a_i and a_f one number for each head
    C_t = f C_{t-1} + i v k^T
    n_t = f n_{t-1} + i k
    h_t = o * C_t q / max(|n_t . q|, exp(-m_t))

    Blocks of weight_input and bias_input in the order q, k, v, o of `hidden` rows, then i, f of `heads` rows. States h,
    which no step reads; C, the matrices (heads, values, keys) as one row; n; and the stabiliser m, which cancels in h_t
    and only keeps the exponentials small. All are 0 at first. The forget biases start evenly between 3 and 6 over the
    heads as in the authors' code, the other biases at 0, the weights by Glorot. The convolution and the normalisation that
    xLSTM puts around it are not part of the cell.
    """

    states = ("h", "C", "n", "m")
    gates = 4
    blocks = 0
    bridged = ()  # a map between two memories would have hidden^4 / heads^2 weights

    def __init__(self, features: int, hidden: int, heads: int = 4):
        sizes = {"h": hidden, "C": hidden * hidden // heads, "n": hidden, "m": heads}
        super().__init__(features, hidden, sizes=sizes, rows=4 * hidden + 2 * heads)
        self.heads = heads
        self.bias_input.data[-heads:] = torch.linspace(3, 6, heads)

    def parts(self, gates: Tensor) -> tuple[Tensor, ...]:
        """Gates (..., projected) -> q, k, v, each (..., heads, d), o (..., hidden), a_i and log f, both (..., heads)."""
        q, k, v, o, i, f = gates.split([self.hidden] * 4 + [self.heads] * 2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))
        return q, k / math.sqrt(k.shape[-1]), v, torch.sigmoid(o), i, F.logsigmoid(f)

    def step(self, gates: Tensor, _: None, state: CellState) -> CellState:
        """One step, as above."""
        q, k, v, o, a_i, log_f = self.parts(gates)
        kept = log_f + state["m"]
        m = torch.maximum(kept, a_i)
        i, f = torch.exp(a_i - m)[..., None], torch.exp(kept - m)[..., None]
        memory = state["C"].unflatten(-1, (self.heads, v.shape[-1], -1))
        memory = f[..., None] * memory + (i * v)[..., None] * k[..., None, :]
        n = f * state["n"].unflatten(-1, (self.heads, -1)) + i * k
        read = (memory * q[..., None, :]).sum(-1)
        h = o * (read / normaliser((n * q).sum(-1), m)).flatten(-2)
        return {"h": h, "C": memory.flatten(-3), "n": n.flatten(-2), "m": m}

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(None, 0, self.step),)


def normaliser(weight: Tensor, m: Tensor) -> Tensor:
    """The divisor of a reading: n . q and the stabiliser, both (..., heads) -> (..., heads, 1)."""
    return torch.maximum(weight.abs(), torch.exp(-m.clamp(min=LEAST)))[..., None]
