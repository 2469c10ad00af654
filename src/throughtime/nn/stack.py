"""Layers on one another, each in one direction or both."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from throughtime.nn import recurrence
from throughtime.nn.cells import Cell
from throughtime.nn.cells.base import CellState
from throughtime.nn.dropout import Rates

CellMaker = Callable[[int, int], Cell]  # features, hidden
StackState = tuple[tuple[CellState, ...], ...]  # layer, direction


class Layer(nn.Module):
    """One cell over time, or one forward and one backward with their outputs side by side."""

    def __init__(self, cell: CellMaker, features: int, hidden: int, bidirectional: bool, engine: str, drop: float):
        super().__init__()
        cells = [cell(features, hidden) for _ in range(2 if bidirectional else 1)]
        for one in cells:
            one.weight_drop = drop
        self.cells = nn.ModuleList(cells)
        self.width = sum(one.width for one in cells)
        self._engine = engine

    def forward(
        self, inputs: Tensor, state: Sequence[CellState | None], lengths: Tensor | None
    ) -> tuple[Tensor, tuple[CellState, ...]]:
        runs = [
            recurrence.run(cell, inputs, start, lengths, backward=direction == 1, engine=self._engine)  # type: ignore[arg-type]
            for direction, (cell, start) in enumerate(zip(self.cells, state, strict=True))
        ]
        return torch.cat([outputs for outputs, _ in runs], dim=-1), tuple(final for _, final in runs)


class Stack(nn.Module):
    """Layers of the given widths, dropout before the first and between them.

    inputs (batch, time, features) -> outputs (batch, time, width), width = the last layer's, and the state of each
    layer and direction. `state=None` starts from zeros; `lengths` (batch,) as in `recurrence.run`.
    """

    def __init__(
        self,
        cell: CellMaker,
        features: int,
        widths: Sequence[int],
        bidirectional: bool = False,
        rates: Rates = Rates(),  # noqa: B008 - it is immutable
        engine: str = "auto",
    ):
        super().__init__()
        self.directions = 2 if bidirectional else 1
        self.width = features
        self.layers = nn.ModuleList()
        for width in widths:
            layer = Layer(cell, self.width, width, bidirectional, engine, rates.weights)
            self.layers.append(layer)
            self.width = layer.width
        self.before, self.between = rates.module(rates.inputs), rates.module(rates.between)

    def initial_state(self, rows: int) -> StackState:
        """The state that every cell begins with."""
        return tuple(tuple(cell.initial_state(rows) for cell in layer.cells) for layer in self.layers)  # type: ignore[union-attr]

    def forward(
        self, inputs: Tensor, state: StackState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, StackState]:
        final = []
        for place, layer in enumerate(self.layers):
            start = (None,) * self.directions if state is None else state[place]
            dropped = self.between(inputs) if place else self.before(inputs)
            inputs, after = layer(dropped, start, lengths)
            final.append(after)
        return inputs, tuple(final)
