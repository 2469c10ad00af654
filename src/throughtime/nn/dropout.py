"""Dropout where the papers put it, and what goes with it."""

from typing import NamedTuple

from torch import Tensor, nn

from throughtime import config


class Locked(nn.Module):
    """One mask for all time steps of a sequence (Gal and Ghahramani 2016): (batch, time, features) -> the same."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return inputs
        mask = nn.functional.dropout(inputs.new_ones(inputs.shape[0], 1, inputs.shape[2]), self.rate)
        return inputs * mask


class Words(nn.Module):
    """Drops whole words, all their places in a batch at once (Gal and Ghahramani 2016, section 4.2).

    tokens (batch, time) and their vectors (batch, time, features) -> the vectors, some zero, the others scaled up.
    """

    def __init__(self, vocabulary: int, rate: float):
        super().__init__()
        self.vocabulary, self.rate = vocabulary, rate

    def forward(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return vectors
        kept = nn.functional.dropout(vectors.new_ones(self.vocabulary), self.rate)
        return vectors * kept[tokens, None]


class Rates(NamedTuple):
    """How much is dropped where: of the words, before the first layer, between layers, before the output, and of the
    recurrent weights; and whether one mask serves all steps."""

    words: float = 0.0
    inputs: float = 0.0
    between: float = 0.0
    outputs: float = 0.0
    weights: float = 0.0
    locked: bool = False

    def module(self, rate: float) -> nn.Module:
        """What drops units at a rate."""
        return Locked(rate) if self.locked else nn.Dropout(rate)


def rates(choice: config.Dropout) -> Rates:
    """The rates of `dropout=`."""
    match choice:
        case config.Zaremba():
            return Rates(inputs=choice.rate, between=choice.rate, outputs=choice.rate)
        case config.Awd():
            return Rates(choice.words, choice.inputs, choice.between, choice.outputs, choice.weights, locked=True)
        case _:
            return Rates()


def slowness(
    outputs: Tensor, dropped: Tensor, choice: config.Dropout, before: Tensor | None = None, whole: int | None = None
) -> Tensor:
    """What AWD adds to the loss: alpha times the mean square of the dropped outputs, and beta times that of the outputs'
    differences from step to step (Merity et al. 2017, section 5); both (batch, time, width).

    Of a part of `whole` steps it is the share: the parts' sum up to the whole's, the last output (batch, 1, width)
    `before` each given.
    """
    if not isinstance(choice, config.Awd):
        return outputs.new_zeros(())
    steps, length = outputs.diff(dim=1, prepend=before), whole or outputs.shape[1]
    activation = dropped.square().mean() * dropped.shape[1] / length
    temporal = steps.square().mean() * steps.shape[1] / (length - 1) if steps.numel() else outputs.new_zeros(())
    return choice.activation * activation + choice.temporal * temporal
