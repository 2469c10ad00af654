"""minGRU and minLSTM (Feng et al. 2024): a GRU and an LSTM whose gates do not see the old state."""

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.nn.cells.linear import LinearCell


class MinGru(LinearCell):
    """Gates in the order z, n; each a = W x_t + b.

    z = sigmoid(a_z)
    h_t = (1 - z) * h_{t-1} + z * a_n

    State h. Glorot weights, biases 0. The candidate is linear, as the paper's vanilla version has it.
    """

    states = ("h",)
    gates = 2

    def coefficients(self, gates: Tensor, inputs: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        z, n = gates.chunk(2, dim=-1)
        z = torch.sigmoid(z)
        return 1 - z, z * n


class MinLstm(LinearCell):
    """Gates in the order f, i, n; each a = W x_t + b; the weights of keeping and writing add up to 1.

    f = sigmoid(a_f), i = sigmoid(a_i)
    f' = f / (f + i), i' = i / (f + i)
    h_t = f' * h_{t-1} + i' * a_n

    State h. Glorot weights, biases 0. f' is computed as sigmoid(log f - log i), which needs no division.
    """

    states = ("h",)
    gates = 3

    def coefficients(self, gates: Tensor, inputs: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        f, i, n = gates.chunk(3, dim=-1)
        kept = torch.sigmoid(F.logsigmoid(f) - F.logsigmoid(i))
        return kept, (1 - kept) * n
