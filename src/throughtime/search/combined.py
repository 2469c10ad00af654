"""Several models as one stepper: ensembles over one vocabulary, and translation with a language model beside it."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from throughtime.nn.state import State
from throughtime.search.stepper import Batch, Scores, Stepper

RULED_OUT = -1e4  # a log-probability that a weight can be multiplied with where -inf cannot


class Ensemble:
    """Models that read the same source, each token's probability their mean: of probabilities (`linear`), or of
    log-probabilities, normalised again (`loglinear`). Attention is the mean where all have it."""

    def __init__(self, members: Sequence[Stepper], mean: Literal["linear", "loglinear"] = "linear"):
        self._members, self._mean = members, mean

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        begun = [member.start(batch) for member in self._members]
        return begun[0][0], [state for _, state in begun]

    def step(self, tokens: Tensor, state: State) -> tuple[Scores, State]:
        stepped = [member.step(tokens, part) for member, part in zip(self._members, state, strict=True)]
        scores = [found for found, _ in stepped]
        looked = [found.attention for found in scores if found.attention is not None]
        attention = torch.stack(looked).mean(dim=0) if len(looked) == len(scores) else None
        return Scores(self._together([found.log_probabilities for found in scores]), attention), [
            after for _, after in stepped
        ]

    def _together(self, steps: list[Tensor]) -> Tensor:
        if len(steps) == 1:
            return steps[0]
        if self._mean == "linear":
            return torch.stack(steps).logsumexp(dim=0) - math.log(len(steps))
        return torch.log_softmax(torch.stack(steps).mean(dim=0), dim=-1)

    def narrowed(self, words: Sequence[int]) -> "Ensemble":
        return Ensemble([member.narrowed(words) for member in self._members], self._mean)

    def reorder(self, state: State, rows: Tensor, sentences: Tensor | None = None) -> State:
        return [member.reorder(part, rows, sentences) for member, part in zip(self._members, state, strict=True)]


class Fusion:
    """Shallow fusion (Gulcehre et al. 2015): log p(y | x) + weight log p(y), the second by a language model of the target
    side, which reads what is written and nothing else. The sum is not normalised; it is never above 0."""

    def __init__(self, translator: Stepper, language_model: Stepper, weight: float):
        self._translator, self._language_model, self._weight = translator, language_model, weight

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        tokens, state = self._translator.start(batch)
        return tokens, (state, self._language_model.start([[] for _ in batch])[1])

    def step(self, tokens: Tensor, state: State) -> tuple[Scores, State]:
        scores, translating = self._translator.step(tokens, state[0])
        fluency, writing = self._language_model.step(tokens, state[1])
        added = self._weight * fluency.log_probabilities.clamp(min=RULED_OUT)
        return Scores(scores.log_probabilities + added, scores.attention), (translating, writing)

    def narrowed(self, words: Sequence[int]) -> "Fusion":
        return Fusion(self._translator.narrowed(words), self._language_model.narrowed(words), self._weight)

    def reorder(self, state: State, rows: Tensor, sentences: Tensor | None = None) -> State:
        return (
            self._translator.reorder(state[0], rows, sentences),
            self._language_model.reorder(state[1], rows, sentences),
        )
