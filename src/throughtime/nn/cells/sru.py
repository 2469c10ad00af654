"""The simple recurrent unit (Lei et al. 2018), in its first version, whose gates do not see the state."""

import torch
from torch import Tensor

from throughtime.nn.cells.linear import LinearCell


class Sru(LinearCell):
    """Gates in the order n, f, r, each a = W x_t + b; u is the input itself, or V x_t + d where it is not `hidden` wide.

    f = sigmoid(a_f), r = sigmoid(a_r)
    c_t = f * c_{t-1} + (1 - f) * a_n
    h_t = r * tanh(c_t) + (1 - r) * u

    States h, which no step reads, and c. V and d are the last block of weight_input and bias_input, where they are
    needed. Glorot weights, biases 0.
    """

    states = ("h", "c")
    gates = 3
    carried = "c"

    def __init__(self, features: int, hidden: int):
        alike = features == hidden
        super().__init__(features, hidden, rows=(3 if alike else 4) * hidden, passes=alike)

    def coefficients(self, gates: Tensor, inputs: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        n, f, r, *projected = gates.split(self.hidden, dim=-1)
        f = torch.sigmoid(f)
        return f, (1 - f) * n, torch.sigmoid(r), *(projected or [inputs])

    def output(self, carried: Tensor, *gates: Tensor) -> Tensor:
        r, u = gates
        return torch.lerp(u, torch.tanh(carried), r)
