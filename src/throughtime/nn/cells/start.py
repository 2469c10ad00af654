"""How a cell's weights are initialised, where the user may choose."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Start:
    """`recurrent`: each block of the recurrent weight, of a gate or a head, is `orthogonal` (Saxe et al. 2014), `uniform`
    between -1 / sqrt(units) and 1 / sqrt(units) as in torch, or the `identity` (Le et al. 2015). `forget_bias`: the
    initial bias of the gate that keeps the state. `chrono`: instead, a bias for each unit, so that the units forget
    over 2 to `chrono` steps (Tallec and Ollivier 2018).
    """

    recurrent: str = "orthogonal"
    forget_bias: float = 0.0
    chrono: float | None = None

    def recurrent_(self, block: Tensor) -> None:
        """Fills a block of a recurrent weight, (units, units of the state)."""
        if self.recurrent == "uniform":
            nn.init.uniform_(block, -(block.shape[0] ** -0.5), block.shape[0] ** -0.5)
        else:
            {"orthogonal": nn.init.orthogonal_, "identity": nn.init.eye_}[self.recurrent](block)

    def keeping(self, bias: Tensor) -> Tensor:
        """The bias b with which sigmoid(b) of the old state is kept, in the shape of `bias`; with chrono log u,
        u ~ U(1, T - 1) (Tallec and Ollivier 2018, equation 16)."""
        if self.chrono is None:
            return torch.full_like(bias, self.forget_bias)
        return torch.empty_like(bias).uniform_(1, self.chrono - 1).log()
