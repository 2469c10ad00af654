"""A model that remembers every state it passes through, to show how much gradient arrives at each."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from throughtime.nn.cells.base import Cell, CellState, Drawn
from throughtime.nn.copies import Model, evaluating, exchange
from throughtime.nn.stack import Layer
from throughtime.nn.state import replace_rows


def watched(model: Model) -> Model:
    """A copy in evaluation mode that shares a model's weights, and whose layers go step by step and keep all states."""
    found = evaluating(model)
    exchange(found, lambda part: WatchedLayer(part) if isinstance(part, Layer) else part)
    return found


def layers(model: nn.Module) -> Iterator[tuple[str, "WatchedLayer"]]:
    """The layers of a watched model that have seen anything, by name."""
    for name, part in model.named_modules():
        if isinstance(part, WatchedLayer) and part.seen[0]:
            yield name, part


class WatchedLayer(Layer):
    """A layer over whole rows, without padding and, if it has both directions, without resets. `seen`: for each
    direction the states (rows, size) after every step, in the order in which it goes through them."""

    def __init__(self, layer: Layer):
        super().__init__(list(layer.cells), layer.merge, "loop")  # type: ignore[arg-type]
        self.seen: list[list[CellState]] = [[] for _ in self.cells]

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
        outputs: list[Tensor] = []
        initial = cast(Cell, self.cells[direction]).initial_state(len(inputs))
        for time, part in enumerate((inputs.flip(1) if direction else inputs).split(1, dim=1)):
            if resets is not None and start is not None:
                start = replace_rows(start, resets[:, time], initial)
            output, start = super().run(direction, part, start, None, None, None)
            outputs.append(output)
            self.seen[direction].append(start)
        whole = torch.cat(outputs, dim=1)
        return whole.flip(1) if direction else whole, self.seen[direction][-1]
