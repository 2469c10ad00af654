"""Layers on one another, each in one direction or both."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from throughtime.nn import recurrence
from throughtime.nn.cells import Cell
from throughtime.nn.cells.base import CellState
from throughtime.nn.dropout import Rates

CellMaker = Callable[[int, int], Cell]  # features, hidden
StackState = tuple[tuple[CellState, ...], ...]  # layer, direction
Merge = Literal["concat", "sum"]


class Layer(nn.Module):
    """One cell over time, or one forward and one backward with their outputs side by side, or summed."""

    def __init__(self, cells: Sequence[Cell], merge: Merge, engine: str):
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.width = cells[0].width if merge == "sum" else sum(one.width for one in cells)
        self._merge, self._engine = merge, engine

    def forward(
        self, inputs: Tensor, state: Sequence[CellState | None], lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, tuple[CellState, ...]]:
        runs = [
            recurrence.run(cell, inputs, start, lengths, direction == 1, self._engine, resets)  # type: ignore[arg-type]
            for direction, (cell, start) in enumerate(zip(self.cells, state, strict=True))
        ]
        outputs = [found for found, _ in runs]
        merged = torch.stack(outputs).sum(0) if self._merge == "sum" else torch.cat(outputs, dim=-1)
        return merged, tuple(final for _, final in runs)


class Stack(nn.Module):
    """Layers of the given widths, dropout before the first and between them.

    inputs (batch, time, features) -> outputs (batch, time, width), width = the last layer's, and the state of each
    layer and direction. `state=None` starts from the cells' initial states, which `learned_state` makes parameters;
    `lengths` (batch,) and `resets` (batch, time) as in `recurrence.run`. `residual` adds to a layer's output what it
    reads, before its dropout, where both are equally wide (Wu et al. 2016, section 3.1).
    """

    def __init__(
        self,
        cell: CellMaker,
        features: int,
        widths: Sequence[int],
        bidirectional: bool = False,
        rates: Rates = Rates(),  # noqa: B008 - it is immutable
        engine: str = "auto",
        *,
        residual: bool = False,
        merge: Merge = "concat",
        learned_state: bool = False,
    ):
        super().__init__()
        self.directions = 2 if bidirectional else 1
        self.width, self.residual = features, residual
        self.layers = nn.ModuleList()
        for width in widths:
            cells = [cell(self.width, width) for _ in range(self.directions)]
            for one in cells:
                one.weight_drop = rates.weights
                if learned_state:
                    one.learn_state()
            layer = Layer(cells, merge, engine)
            self.layers.append(layer)
            self.width = layer.width
        self.before, self.between = rates.module(rates.inputs), rates.module(rates.between)

    def initial_state(self, rows: int) -> StackState:
        """The state that every cell begins with."""
        return tuple(tuple(cell.initial_state(rows) for cell in layer.cells) for layer in self.layers)  # type: ignore[union-attr]

    def forward(
        self,
        inputs: Tensor,
        state: StackState | None = None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, StackState]:
        outputs, final = self.layered(inputs, state, lengths, resets)
        return outputs[-1], final

    def layered(
        self,
        inputs: Tensor,
        state: StackState | None = None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[list[Tensor], StackState]:
        """The same, with the outputs of every layer."""
        found, final = [], []
        for place, layer in enumerate(self.layers):
            start = (None,) * self.directions if state is None else state[place]
            dropped = self.between(inputs) if place else self.before(inputs)
            outputs, after = layer(dropped, start, lengths, resets)
            inputs = inputs + outputs if self.residual and inputs.shape == outputs.shape else outputs
            found.append(inputs)
            final.append(after)
        return found, tuple(final)
