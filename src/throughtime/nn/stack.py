"""Layers on one another, each in one direction or both."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from throughtime.nn import recurrence
from throughtime.nn.cells import Cell
from throughtime.nn.cells.base import CellState

CellMaker = Callable[[int, int], Cell]  # features, hidden
StackState = tuple[tuple[CellState, ...], ...]  # layer, direction


class Layer(nn.Module):
    """One cell over time, or one forward and one backward with their outputs side by side."""

    def __init__(self, cell: CellMaker, features: int, hidden: int, bidirectional: bool, engine: str):
        super().__init__()
        self.cells = nn.ModuleList(cell(features, hidden) for _ in range(2 if bidirectional else 1))
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
    """`depth` layers; the dropout module stands in front of each.

    inputs (batch, time, features) -> outputs (batch, time, width), width = hidden x directions, and the state of each
    layer and direction. `state=None` starts from zeros; `lengths` (batch,) as in `recurrence.run`.
    """

    def __init__(
        self,
        cell: CellMaker,
        features: int,
        hidden: int,
        depth: int,
        bidirectional: bool = False,
        dropout: nn.Module | None = None,
        engine: str = "auto",
    ):
        super().__init__()
        self.directions = 2 if bidirectional else 1
        self.width = hidden * self.directions
        sizes = [features, *[self.width] * (depth - 1)]
        self.layers = nn.ModuleList(Layer(cell, size, hidden, bidirectional, engine) for size in sizes)
        self.dropout = dropout or nn.Identity()

    @property
    def bridged(self) -> tuple[str, ...]:
        """The states of its cells that a decoder takes over from an encoder."""
        return cast(Cell, cast(Layer, self.layers[0]).cells[0]).bridged

    def forward(
        self, inputs: Tensor, state: StackState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, StackState]:
        final = []
        for place, layer in enumerate(self.layers):
            start = (None,) * self.directions if state is None else state[place]
            inputs, after = layer(self.dropout(inputs), start, lengths)
            final.append(after)
        return inputs, tuple(final)
