"""Linear recurrences: what a step keeps and adds depends on the inputs alone, so all steps can be computed at once."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState, Stage


class LinearCell(Cell):
    """c_t = a_t * c_{t-1} + b_t, unit by unit, and an output made of c_t; c is the state that `carried` names.

    `coefficients` and `output` are pointwise and see no other step, so that an engine may call them for one step or for
    all at once; `step` is made of them. With `passes` they also see the input itself, which `project` appends to the
    gates. `window` names a state that holds the inputs of the steps before, the newest first, for a cell whose gates
    depend on those: the product with it is added to the gates.
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
    def coefficients(self, gates: Tensor, inputs: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        """Gates (..., rows of weight_input), inputs (..., features), `vectors` -> a, b and whatever else `output`
        takes, each (..., hidden)."""

    def output(self, carried: Tensor, *gates: Tensor) -> Tensor:
        """The new c and what else `coefficients` returned, each (..., hidden) -> the output (..., hidden)."""
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

    def step(self, projected: Tensor, product: Tensor | None, state: CellState, *vectors: Tensor) -> CellState:
        """One step: the result of `project`, the product with the window if there is one, the old state -> the new."""
        gates, inputs = projected.split([len(self.weight_input), projected.shape[-1] - len(self.weight_input)], dim=-1)
        new: CellState = {}
        if self.window is not None and product is not None:
            gates = gates + product
            new[self.window] = torch.cat([inputs, state[self.window][..., : -self.features]], dim=-1)
        a, b, *others = self.coefficients(gates, inputs, *vectors)
        new[self.carried] = a * state[self.carried] + b
        return {**new, self.states[0]: self.output(new[self.carried], *others)}
