"""Stacked layers, each in one direction or both."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from throughtime.nn import recurrence
from throughtime.nn.cells import Cell
from throughtime.nn.cells.base import CellState, Drawn
from throughtime.nn.cells.noisy import CandidateDropCell, VariationalCell, ZoneoutCell
from throughtime.nn.dropout import Rates

CellMaker = Callable[[int, int], Cell]  # features, hidden
StackState = tuple[tuple[CellState, ...], ...]  # layer, direction
Merge = Literal["concat", "sum"]


class StackNoise(NamedTuple):
    """What is drawn once for a sequence that comes in parts: the masks before each layer, and the noise of each layer and
    direction."""

    masks: tuple[Tensor | None, ...]
    cells: tuple[tuple[Drawn, ...], ...]


class TextNoise(NamedTuple):
    """What is drawn once for texts that come in parts: the factor for each word, and the stack's noise."""

    words: Tensor | None
    stack: StackNoise


class Layer(nn.Module):
    """One cell over time, or one forward and one backward with their outputs side by side, or summed."""

    def __init__(self, cells: Sequence[Cell], merge: Merge, engine: str):
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.width = cells[0].width if merge == "sum" else sum(one.width for one in cells)
        self.merge, self.engine = merge, engine

    def forward(
        self,
        inputs: Tensor,
        state: Sequence[CellState | None],
        lengths: Tensor | None,
        resets: Tensor | None,
        drawn: Sequence[Drawn | None],
    ) -> tuple[Tensor, tuple[CellState, ...]]:
        """(batch, time, features) and what each direction begins with -> (batch, time, width) and what each ends with;
        `lengths` and `resets` as in `recurrence.run`."""
        sides = enumerate(zip(state, drawn, strict=True))
        runs = [self.run(direction, inputs, start, lengths, resets, own) for direction, (start, own) in sides]
        outputs = [found for found, _ in runs]
        merged = torch.stack(outputs).sum(0) if self.merge == "sum" else torch.cat(outputs, dim=-1)
        return merged, tuple(final for _, final in runs)

    def run(
        self,
        direction: int,
        inputs: Tensor,
        start: CellState | None,
        lengths: Tensor | None,
        resets: Tensor | None,
        drawn: Drawn | None,
        /,
    ) -> tuple[Tensor, CellState]:
        """One direction; the second one runs backward."""
        cell = cast(Cell, self.cells[direction])
        return recurrence.run(cell, inputs, start, lengths, direction == 1, self.engine, resets, drawn)


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
        self.width = features
        self.residual: list[bool] = []  # of each layer
        self.layers = nn.ModuleList()
        for width in widths:
            cells = [cell(self.width, width) for _ in range(self.directions)]
            for one in cells:
                one.weight_drop = rates.weights
                if learned_state:
                    one.learn_state()
            layer = Layer([_disturbed(one, rates) for one in cells], merge, engine)
            self.layers.append(layer)
            self.residual.append(residual and self.width == layer.width)
            self.width = layer.width
        self.before, self.between = rates.dropout(rates.inputs), rates.dropout(rates.between)

    def initial_state(self, rows: int) -> StackState:
        """The state that every cell begins with."""
        return tuple(tuple(cell.initial_state(rows) for cell in layer.cells) for layer in self.layers)  # type: ignore[union-attr]

    def draw(self, rows: int) -> StackNoise:
        """The noise of a sequence; without it every call of `forward` draws its own."""
        cells = tuple(tuple(cell.active.draw(rows) for cell in layer.cells) for layer in self.layers)  # type: ignore[union-attr]
        widths = [layer.cells[0].features for layer in self.layers]  # type: ignore[union-attr, index]
        drops = [self.before, *[self.between] * (len(widths) - 1)]
        like = cells[0][0].matrices[0][0]
        masks = tuple(drop.draw(like.new_empty(rows, width)) for drop, width in zip(drops, widths, strict=True))
        return StackNoise(masks, cells)

    def forward(
        self,
        inputs: Tensor,
        state: StackState | None = None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        noise: StackNoise | None = None,
    ) -> tuple[Tensor, StackState]:
        """The last layer's outputs and the state, from `layered`."""
        outputs, final = self.layered(inputs, state, lengths, resets, noise)
        return outputs[-1], final

    def layered(
        self,
        inputs: Tensor,
        state: StackState | None = None,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        noise: StackNoise | None = None,
    ) -> tuple[list[Tensor], StackState]:
        """The outputs of every layer in order, each (batch, time, its width), and the state after the last step.

        Args:
            inputs: (batch, time, features).
            state: what each layer and direction begins with; None for the cells' initial states.
            lengths, resets: (batch,) and (batch, time), as in `recurrence.run`.
            noise: what `draw` gave, for a sequence that comes in parts; None draws for this run alone.
        """
        found, final = [], []
        for place, layer in enumerate(self.layers):
            start = (None,) * self.directions if state is None else state[place]
            mask, drawn = (noise.masks[place], noise.cells[place]) if noise else (None, (None,) * self.directions)
            dropped = self.between(inputs, mask) if place else self.before(inputs, mask)
            outputs, after = layer(dropped, start, lengths, resets, drawn)
            inputs = inputs + outputs if self.residual[place] else outputs
            found.append(inputs)
            final.append(after)
        return found, tuple(final)


def _disturbed(cell: Cell, rates: Rates) -> Cell:
    """The cell, with the noise in its step that the rates ask for."""
    if rates.zoneout is not None:
        return ZoneoutCell(cell, *rates.zoneout)
    if rates.candidate:
        return CandidateDropCell(cell, rates.candidate)
    return VariationalCell(cell, rates.state) if rates.state else cell
