"""Dropout of units and of whole words, and how much is dropped where."""

from typing import NamedTuple

from torch import Tensor, nn


class UnitDropout(nn.Module):
    """Drops units at a rate, independently at every step or, if `locked`, by one mask for all steps of a sequence (Gal
    and Ghahramani 2016): (batch, time, features) -> the same."""

    def __init__(self, rate: float, locked: bool):
        super().__init__()
        self.rate, self.locked = rate, locked

    def draw(self, like: Tensor) -> Tensor | None:
        """A mask (batch, 1, features) for a sequence like this (batch, ..., features); None where none is used."""
        if not (self.locked and self.training and self.rate):
            return None
        return nn.functional.dropout(like.new_ones(len(like), 1, like.shape[-1]), self.rate)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask`: what `draw` gave, for a sequence that comes in parts; None draws for this part alone."""
        if not self.locked:
            return nn.functional.dropout(inputs, self.rate, self.training)
        mask = self.draw(inputs) if mask is None else mask
        return inputs if mask is None else inputs * mask.to(inputs.dtype)


class WordDropout(nn.Module):
    """Drops whole words, each at all its places in a batch alike (Gal and Ghahramani 2016, section 4.2).

    tokens (batch, time) and their vectors (batch, time, features) -> the vectors, some zero, the others scaled up.
    """

    def __init__(self, vocabulary: int, rate: float):
        super().__init__()
        self.vocabulary, self.rate = vocabulary, rate

    def draw(self, like: Tensor) -> Tensor | None:
        """The factor for each word, (vocabulary,); None where nothing is dropped."""
        if not self.training or not self.rate:
            return None
        return nn.functional.dropout(like.new_ones(self.vocabulary), self.rate)

    def forward(self, tokens: Tensor, vectors: Tensor, kept: Tensor | None = None) -> Tensor:
        """`kept`: what `draw` gave, for a text that comes in parts; None draws for this part alone."""
        kept = self.draw(vectors) if kept is None else kept
        return vectors if kept is None else vectors * kept[tokens, None]


class Rates(NamedTuple):
    """How much is dropped where: of the words, before the first layer, between layers, before the output, and of the
    recurrent weights; whether one mask serves all steps; and within a cell's step (`nn/cells/noisy.py`) of the state
    before the product, of the change of output and memory, and of the candidate."""

    words: float = 0.0
    inputs: float = 0.0
    between: float = 0.0
    outputs: float = 0.0
    weights: float = 0.0
    locked: bool = False
    state: float = 0.0
    zoneout: tuple[float, float] | None = None
    candidate: float = 0.0

    def dropout(self, rate: float) -> UnitDropout:
        """What drops units at a rate."""
        return UnitDropout(rate, self.locked)
