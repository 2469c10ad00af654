"""The layer-normalised LSTM and GRU (Ba et al. 2016).

LN(v) = (v - mean(v)) / sqrt(variance(v) + 1e-5), over the units of one step and row; the products with x and with h are
normalised separately, then scaled. Where two shifts would be added, there is only one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.nn.cells.base import Cell, CellState
from throughtime.nn.cells.start import Start
from throughtime.nn.products import linear


def normalised(values: Tensor) -> Tensor:
    """LN over the last axis, neither scaled nor shifted; written out, as that is faster in compiled kernels. The
    variance takes the mean as a constant, as its derivative with respect to the mean is 0."""
    units = values.shape[-1]
    mean = values.sum(dim=-1, keepdim=True) / units
    variance = (values - mean.detach()).square().sum(dim=-1, keepdim=True) / units
    return (values - mean) * torch.rsqrt(variance + 1e-5)


class LayerNormLstm(Cell):
    """Gates in the order i, f, g, o; all four are normalised as one vector (Ba et al. 2016, equations 20 to 22).

    a = s_x * LN(W x_t) + b + s_h * LN(R h_{t-1})
    i = sigmoid(a_i), f = sigmoid(a_f), g = tanh(a_g), o = sigmoid(a_o)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(s_c * LN(c_t) + b_c)

    The scales s start at 1, b_c at 0, the forget gate's part of b at 1.
    """

    states = ("h", "c")
    gates = 4
    biased = False
    vectors = ("scale_hidden", "scale_memory", "bias_memory")
    keeps, writes = 1, 0
    start = Start(forget_bias=1.0)

    def __init__(self, features: int, hidden: int, start: Start | None = None):
        super().__init__(features, hidden, start)
        self.scale_input = nn.Parameter(torch.ones(4 * hidden))
        self.scale_hidden = nn.Parameter(torch.ones(4 * hidden))
        self.scale_memory = nn.Parameter(torch.ones(hidden))
        self.bias_memory = nn.Parameter(torch.zeros(hidden))

    def project(self, inputs: Tensor) -> Tensor:
        gates = linear(inputs, self.weight_input)
        return F.layer_norm(gates, gates.shape[-1:], self.scale_input, self.bias_input)

    @staticmethod
    def step(
        input_gates: Tensor, product: Tensor, state: CellState, scale_h: Tensor, scale_c: Tensor, bias_c: Tensor
    ) -> CellState:
        i, f, g, o = (input_gates + normalised(product) * scale_h).chunk(4, dim=-1)
        c = torch.sigmoid(f) * state["c"] + torch.sigmoid(i) * torch.tanh(g)
        return {"h": torch.sigmoid(o) * torch.tanh(normalised(c) * scale_c + bias_c), "c": c}


class LayerNormGru(Cell):
    """Gates in the order r, z, n; r and z are normalised as one vector, n by itself (Ba et al. 2016, equations 23 to 25).

    [r, z] = sigmoid(s_x * LN([W_r, W_z] x_t) + b + s_h * LN([R_r, R_z] h_{t-1}))
    n = tanh(s_x * LN(W_n x_t) + b_n + r * (s_h * LN(R_n h_{t-1}) + c_n))
    h_t = (1 - z) * n + z * h_{t-1}

    z keeps the old state as in this project's other GRUs; the paper swaps z and 1 - z. The scales s start at 1.
    """

    states = ("h",)
    gates = 3
    biased = False
    vectors = ("scale_hidden", "bias_candidate")
    keeps = 1

    def __init__(self, features: int, hidden: int, start: Start | None = None):
        super().__init__(features, hidden, start)
        self.scale_input = nn.Parameter(torch.ones(3 * hidden))
        self.scale_hidden = nn.Parameter(torch.ones(3 * hidden))
        self.bias_candidate = nn.Parameter(torch.zeros(hidden))

    def project(self, inputs: Tensor) -> Tensor:
        gates, scales, biases = map(self._parts, (linear(inputs, self.weight_input), self.scale_input, self.bias_input))
        parts = zip(gates, scales, biases, strict=True)
        return torch.cat([F.layer_norm(values, scale.shape, scale, bias) for values, scale, bias in parts], dim=-1)

    @staticmethod
    def _parts(blocks: Tensor) -> tuple[Tensor, ...]:
        """[r, z] and n of (..., 3 * hidden), which are normalised separately."""
        hidden = blocks.shape[-1] // 3
        return blocks.split([2 * hidden, hidden], dim=-1)

    @staticmethod
    def step(input_gates: Tensor, product: Tensor, state: CellState, scale: Tensor, bias: Tensor) -> CellState:
        input_r, input_z, input_n = input_gates.chunk(3, dim=-1)
        recurrent = torch.cat([normalised(part) for part in LayerNormGru._parts(product)], dim=-1)
        recurrent_r, recurrent_z, recurrent_n = (recurrent * scale).chunk(3, dim=-1)
        z = torch.sigmoid(input_z + recurrent_z)
        n = torch.tanh(input_n + torch.sigmoid(input_r + recurrent_r) * (recurrent_n + bias))
        return {"h": (1 - z) * n + z * state["h"]}
