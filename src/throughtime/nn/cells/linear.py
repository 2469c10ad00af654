"""Linear recurrences: what a step keeps and what it adds depend on the inputs alone, so that all steps can be had at once."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState, Stage


class LinearCell(Cell):
    """c_t = a_t * c_{t-1} + b_t, unit by unit, and an output made of c_t alone; c is the state that `carried` names.

    `coefficients` and `output` are pointwise and see no other step, so that an engine may call them for one step or for
    all at once. `window` names a state that holds the inputs of the last steps, the newest first, for a cell whose gates
    see those too: what comes in is found behind the gates, and the engine's product with the window is added to them.

    With `passes` the input itself comes behind the gates.
    """

    blocks = 0
    carried: ClassVar[str] = "h"
    window: ClassVar[str | None] = None

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        sizes: dict[str, int] | None = None,
        rows: int | None = None,
        passes: bool = False,
    ):
        super().__init__(features, hidden, sizes=sizes, rows=rows)
        self._passes = passes

    @abstractmethod
    def coefficients(self, gates: Tensor, *vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Gates (..., projected), and those of `vectors` -> a and b, each (..., hidden)."""

    def output(self, gates: Tensor, carried: Tensor) -> Tensor:
        """Gates (..., projected) and the new c (..., hidden) -> the output (..., hidden)."""
        return carried

    @property
    def bridged(self) -> tuple[str, ...]:
        return (self.carried,)

    @property
    def projected(self) -> int:
        return super().projected + self.features * self._passes

    def project(self, inputs: Tensor) -> Tensor:
        gates = super().project(inputs)
        return torch.cat([gates, inputs], dim=-1) if self._passes else gates

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(self.window, self.gates if self.window else 0, self.step),)

    def step(self, gates: Tensor, product: Tensor | None, state: CellState, *vectors: Tensor) -> CellState:
        """One step: gates (batch, projected), the product with the window if there is one, the old state -> the new."""
        new: CellState = {}
        if self.window is not None and product is not None:
            gates, entering = self.with_window(gates, product)
            kept = state[self.window][..., : -entering.shape[-1]]
            new[self.window] = torch.cat([entering, kept], dim=-1)
        a, b = self.coefficients(gates, *vectors)
        new[self.carried] = a * state[self.carried] + b
        return {**new, self.states[0]: self.output(gates, new[self.carried])}

    def with_window(self, gates: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
        """The gates with the window's product (..., gates * hidden) added, and the inputs that enter the window."""
        own, entering = gates.split([product.shape[-1], self.features], dim=-1)
        return own + product, entering
