"""The source side: embedding, and a reader of its vectors, recurrent or convolutional."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.nn.cells import Cell
from throughtime.nn.convolution import Convolution
from throughtime.nn.dropout import Rates, WordDropout
from throughtime.nn.engines.masks import column, counted
from throughtime.nn.products import Linear
from throughtime.nn.recurrence import reverse
from throughtime.nn.stack import Layer, Stack, StackState

Combination = Literal["last", "sum", "concat"]


class Encoded(NamedTuple):
    """A read source: `memory` (batch, time, width), `mask` (batch, time) true where it counts, final `state`."""

    memory: Tensor
    mask: Tensor
    state: StackState


class Reader(nn.Module):
    """Vectors (batch, time, features) and lengths (batch,) on the CPU -> memory (batch, time, width) and a final state, whose
    tensors are as wide as `sizes` says, layer by layer, the directions side by side, each layer's output first."""

    width: int
    sizes: list[dict[str, int]]

    def __call__(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, StackState]:
        found: tuple[Tensor, StackState] = super().__call__(vectors, lengths)
        return found


class Encoder(nn.Module):
    """Token ids (batch, time) and their lengths (batch,) on the CPU -> `Encoded`.

    `reversed_source`: read from the last word to the first (Sutskever et al. 2014); the closing eos and the padding stay
    where they are. The memory is in the order of the source all the same, so that what attends to it sees the same words
    at the same places, however they were read; it gets the same dropout as what the output layer reads.
    """

    def __init__(self, embedding: nn.Embedding, reader: Reader, rates: Rates, reversed_source: bool = False):
        super().__init__()
        self.embedding, self.reader, self._reversed = embedding, reader, reversed_source
        self.word_dropout = WordDropout(embedding.num_embeddings, rates.words)
        self.dropout = rates.dropout(rates.outputs)

    def forward(self, source: Tensor, lengths: Tensor) -> Encoded:
        if self._reversed:
            source = reverse(source[..., None], lengths - 1)[..., 0]
        memory, state = self.reader(self.word_dropout(source, self.embedding(source)), lengths)
        if self._reversed:
            memory = reverse(memory, lengths - 1)
        return Encoded(self.dropout(memory), counted(source, lengths), state)


def combined(layers: Sequence[Tensor], combination: Combination) -> Tensor:
    """What is kept of the outputs (batch, time, width) of all layers."""
    match combination:
        case "sum":
            return torch.stack(list(layers)).sum(0)
        case "concat":
            return torch.cat(list(layers), dim=-1)
        case _:
            return layers[-1]


def combined_width(widths: Sequence[int], combination: Combination) -> int:
    """How wide `combined` makes layers of these widths."""
    return sum(widths) if combination == "concat" else widths[-1]


class RecurrentReader(Reader):
    """A stack whose layers' outputs are combined as `combination` says."""

    def __init__(self, stack: Stack, combination: Combination = "last"):
        super().__init__()
        self.stack, self._combination = stack, combination
        layers = [cast(Layer, layer) for layer in stack.layers]
        self.width = combined_width([layer.width for layer in layers], combination)
        self.sizes = [self._sizes(cast(Cell, layer.cells[0])) for layer in layers]

    def _sizes(self, cell: Cell) -> dict[str, int]:
        names = dict.fromkeys([cell.states[0], *cell.bridged])
        return {name: cell.sizes[name] * self.stack.directions for name in names}

    def forward(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, StackState]:
        ragged = None if int(lengths.min()) == vectors.shape[1] else lengths
        layers, state = self.stack.layered(vectors, lengths=ragged)
        return combined(layers, self._combination), state


class ConvolutionalReader(Reader):
    """Gated convolutions over words and their positions, each with a residual connection (Gehring et al. 2017).

    x_0 = P (w + p) + b, p as in Vaswani et al. 2017, section 3.5, so that a source may be of any length
    x_l = (x_{l-1} + A_l * sigmoid(B_l)) sqrt(1/2), [A_l; B_l] a convolution over `window` steps of x_{l-1}

    Beyond its ends a source counts as zeros. The final state is the mean of the memory over the source.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        depth: int,
        window: int,
        combination: Combination = "last",
        rates: Rates = Rates(),  # noqa: B008 - it is immutable
    ):
        super().__init__()
        self.project, self._combination = Linear(features, hidden), combination
        self.layers = nn.ModuleList(Convolution(hidden, 2 * hidden, window) for _ in range(depth))
        self.before, self.between = rates.dropout(rates.inputs), rates.dropout(rates.between)
        self.width = combined_width([hidden] * depth, combination)
        self.sizes = [{"h": self.width}]

    def forward(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, StackState]:
        counts = counted(vectors, lengths)[..., None].to(vectors.dtype)
        x = self.project(self.before(vectors + positions(vectors)))
        layers = []
        for layer in self.layers:
            gated = layer((self.between(x) * counts).transpose(1, 2)).transpose(1, 2)
            x = (x + F.glu(gated, dim=-1)) * math.sqrt(0.5)
            layers.append(x * counts)
        memory = combined(layers, self._combination)
        return memory, (({"h": memory.sum(1) / column(lengths, memory)},),)


def positions(vectors: Tensor) -> Tensor:
    """(batch, time, features) -> (time, features): alternate sines and cosines, wavelengths 2 pi to 20,000 pi."""
    _, time, features = vectors.shape
    pairs = torch.arange(0, features, 2, device=vectors.device, dtype=vectors.dtype)
    angles = torch.arange(time, device=vectors.device, dtype=vectors.dtype)[:, None] / 10_000 ** (pairs / features)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :features]
