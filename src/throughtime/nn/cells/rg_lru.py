"""The real-gated linear recurrent unit of Griffin (De et al. 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.nn.cells.linear import LinearCell

SHARPNESS = 8.0  # c in the paper
LEAST = 1e-12  # keeps the derivative of the square root finite where a unit forgets nothing


class RgLru(LinearCell):
    """Gates in the order r, i, each W x_t + b; u is the input itself, or V x_t + d where it is not `hidden` wide.

    r = sigmoid(a_r), i = sigmoid(a_i)
    a = exp(-8 * softplus(L) * r)
    h_t = a * h_{t-1} + sqrt(1 - a^2) * (i * u)

    State h. The vector L, `decay`, starts such that a is uniform between 0.9 and 0.999 where r = 1. V and d are the last
    block of weight_input and bias_input, where they are needed. Glorot weights, biases 0.
    """

    states = ("h",)
    gates = 2
    vectors = ("decay",)

    def __init__(self, features: int, hidden: int):
        alike = features == hidden
        super().__init__(features, hidden, rows=(2 if alike else 3) * hidden, passes=alike)
        kept = torch.empty(hidden).uniform_(0.9, 0.999)
        self.decay = nn.Parameter(torch.log(torch.expm1(-torch.log(kept) / SHARPNESS)))

    def coefficients(self, gates: Tensor, inputs: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        (decay,) = vectors
        r, i, *projected = gates.split(self.hidden, dim=-1)
        (u,) = projected or [inputs]
        log_a = -SHARPNESS * F.softplus(decay) * torch.sigmoid(r)
        scale = torch.sqrt(-torch.expm1(2 * log_a).clamp(max=-LEAST))
        return torch.exp(log_a), scale * (torch.sigmoid(i) * u)
