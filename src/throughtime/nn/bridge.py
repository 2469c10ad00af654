"""From the encoder's state to the decoder: its first state, and a summary of the source for every step."""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from throughtime import config
from throughtime.nn.cells import Cell
from throughtime.nn.cells.base import CellState
from throughtime.nn.products import Linear
from throughtime.nn.stack import Layer, Stack, StackState


class Bridge(nn.Module):
    """The decoder's first state from the encoder's last, matched layer by layer from the top and state tensor by state
    tensor, so that no layer, direction or kind of state takes another's place.

    linear   s_0 = tanh(B [forward; backward] + b)
    copy     s_0 = [forward; backward], for a decoder that is as wide as both together
    zero     the decoder's own initial state

    `sizes`: of the encoder's state (`encoder.Reader`). If the decoder is deeper than the encoder, its lowest layers all
    take the encoder's first layer; a state tensor that the encoder lacks is made from its output. States that the
    decoder's cell does not list as `bridged` keep their initial values.

    Raises:
        Mistake: a state that cannot be copied.
    """

    def __init__(self, kind: Literal["linear", "copy", "zero"], sizes: Sequence[dict[str, int]], decoder: Stack):
        super().__init__()
        # For each layer: the encoder's layer it is made from, and for each of its states which one of that layer's.
        self._taken: list[tuple[int, dict[str, str]]] = []
        self.layers = nn.ModuleList()
        for place, layer in enumerate(decoder.layers):
            cell = cast(Cell, cast(Layer, layer).cells[0])
            below = max(0, place + len(sizes) - len(decoder.layers))
            read = sizes[below]
            taken = {name: name if name in read else next(iter(read)) for name in cell.bridged if kind != "zero"}
            linears = {name: Linear(read[origin], cell.sizes[name]) for name, origin in taken.items()}
            if kind == "copy":
                _refuse_uncopied({name: (read[origin], cell.sizes[name]) for name, origin in taken.items()})
            self._taken.append((below, taken))
            self.layers.append(nn.ModuleDict(linears if kind == "linear" else {}))

    def forward(self, state: StackState, initial: StackState) -> StackState:
        """The encoder's state and the decoder's initial one -> the decoder's first."""
        return tuple(({**begun, **self._bridged(place, state)},) for place, (begun,) in enumerate(initial))

    def _bridged(self, place: int, state: StackState) -> CellState:
        linears, (below, taken) = cast(nn.ModuleDict, self.layers[place]), self._taken[place]
        read = {name: side_by_side(state[below], origin) for name, origin in taken.items()}
        return {name: torch.tanh(linears[name](value)) if linears else value for name, value in read.items()}


def _refuse_uncopied(sizes: dict[str, tuple[int, int]]) -> None:
    """`sizes`: for each state its width in the encoder and in the decoder."""
    for name, (read, written) in sizes.items():
        if read != written:
            allowed = f"linear, or an encoder with {written} for the decoder's {name} and not {read}, by encoder.hidden"
            raise config.wrong("model.bridge", "copy", allowed)


class Summary(nn.Module):
    """c = tanh(V h + b), h the last output of the encoder's top layer, both directions (Cho et al. 2014)."""

    def __init__(self, sizes: Sequence[dict[str, int]], width: int):
        super().__init__()
        self._name, read = next(iter(sizes[-1].items()))
        self.linear, self.width = Linear(read, width), width

    def forward(self, state: StackState) -> Tensor:
        """The encoder's state -> (batch, width)."""
        return torch.tanh(self.linear(side_by_side(state[-1], self._name)))


def side_by_side(sides: Sequence[CellState], name: str) -> Tensor:
    """One state tensor of all directions, concatenated: (batch, directions x size)."""
    return torch.cat([side[name] for side in sides], dim=-1)
