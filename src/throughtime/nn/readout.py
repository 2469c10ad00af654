"""From the decoder's stack to its output layer."""

from typing import Literal

import torch
from torch import Tensor, nn

from throughtime.nn.products import Linear


class Readout(nn.Module):
    """What the output layer reads, made of the stack's output h, the context c and, with `words`, the previous word y.

    plain    h; with a context tanh(W [h; c]) (Luong et al. 2015, eq. 5)
    deep     tanh(W [h; c; y] + b) (Pascanu et al. 2014)
    maxout   the larger of each pair of units of W [h; c; y] + b (Bahdanau et al. 2015, A.2.2)
    """

    def __init__(self, kind: Literal["plain", "deep", "maxout"], hidden: int, context: int, words: int, width: int):
        super().__init__()
        self.pieces = 2 if kind == "maxout" else 1
        read = hidden + context + words
        bare = kind == "plain" and read == hidden
        self.linear = None if bare else Linear(read, width * self.pieces, bias=kind != "plain")
        self.width = hidden if bare else width

    def forward(self, *parts: Tensor) -> Tensor:
        """h, c, y, each (batch, time, its width) or left out -> (batch, time, width)."""
        if self.linear is None:
            return parts[0]
        return self.shaped(self.linear(torch.cat(parts, dim=-1)))

    def shaped(self, made: Tensor) -> Tensor:
        """The nonlinearity applied to the product, (..., width x pieces) -> (..., width)."""
        return torch.tanh(made) if self.pieces == 1 else made.unflatten(-1, (-1, 2)).amax(-1)
