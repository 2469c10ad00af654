"""Dropout where the papers put it, and what goes with it."""

from typing import NamedTuple

from torch import Tensor, nn


class Units(nn.Module):
    """Drops units at a rate, each at every step by itself, or `locked`, by one mask for all steps of a sequence (Gal and
    Ghahramani 2016): (batch, time, features) -> the same."""

    def __init__(self, rate: float, locked: bool):
        super().__init__()
        self.rate, self.locked = rate, locked

    def draw(self, like: Tensor) -> Tensor | None:
        """The mask for a sequence like this (batch, ..., features), (batch, 1, features); None where there is none."""
        if not (self.locked and self.training and self.rate):
            return None
        return nn.functional.dropout(like.new_ones(len(like), 1, like.shape[-1]), self.rate)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask`: what `draw` gave, for a sequence that comes in parts; None draws for this part alone."""
        if not self.locked:
            return nn.functional.dropout(inputs, self.rate, self.training)
        mask = self.draw(inputs) if mask is None else mask
        return inputs if mask is None else inputs * mask.to(inputs.dtype)


class Words(nn.Module):
    """Drops whole words, all their places in a batch at once (Gal and Ghahramani 2016, section 4.2).

    tokens (batch, time) and their vectors (batch, time, features) -> the vectors, some zero, the others scaled up.
    """

    def __init__(self, vocabulary: int, rate: float):
        super().__init__()
        self.vocabulary, self.rate = vocabulary, rate

    def draw(self, like: Tensor) -> Tensor | None:
        """What is left of each word, (vocabulary,); None where nothing is dropped."""
        if not self.training or not self.rate:
            return None
        return nn.functional.dropout(like.new_ones(self.vocabulary), self.rate)

    def forward(self, tokens: Tensor, vectors: Tensor, kept: Tensor | None = None) -> Tensor:
        """`kept`: what `draw` gave, for a text that comes in parts; None draws for this part alone."""
        kept = self.draw(vectors) if kept is None else kept
        return vectors if kept is None else vectors * kept[tokens, None]


class Rates(NamedTuple):
    """How much is dropped where: of the words, before the first layer, between layers, before the output, of the recurrent
    weights, and whether one mask serves all steps; and within the step of a cell, as `nn/cells/noisy.py` has it, of the
    state before the product, of the change of output and memory, and of the candidate."""

    words: float = 0.0
    inputs: float = 0.0
    between: float = 0.0
    outputs: float = 0.0
    weights: float = 0.0
    locked: bool = False
    state: float = 0.0
    zoneout: tuple[float, float] | None = None
    candidate: float = 0.0

    def module(self, rate: float) -> Units:
        """What drops units at a rate."""
        return Units(rate, self.locked)
