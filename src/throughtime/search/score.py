"""The score of a hypothesis, and the highest that an open one can still reach."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from throughtime import config

UNSEEN = 1e-6  # the attention counted for a source token that received none, so that its logarithm stays finite


@dataclass(frozen=True)
class Hypothesis:
    """One result of a search.

    `tokens` are without eos; `log_probability` is the sum over all of them, and eos where `finished`; `length` counts
    the same tokens; `score` is what the search ranked by.
    """

    tokens: list[int]
    log_probability: float
    score: float
    length: int
    finished: bool

    def described(self, write: Callable[[list[int]], str]) -> dict[str, Any]:
        """As plain data, with the text that `write` makes of the tokens."""
        return {
            "text": write(self.tokens),
            "score": self.score,
            "log_probability": self.log_probability,
            "length": self.length,
            "finished": self.finished,
        }


class Score:
    """s(Y, X) = log p(Y | X) / n(|Y|) + reward |Y| + coverage cp(X, Y); |Y| counts eos.

    n(T) is 1 (`none`), T^alpha (`length`; with alpha 1 the mean over tokens, Boulanger-Lewandowski et al. 2013) or
    ((5 + T) / 6)^alpha (`gnmt`; Wu et al. 2016, equation 14). The reward of a token is that of He et al. 2016. cp sums
    log(min(the attention that a source token got in all steps, 1)) over the source (Wu et al. 2016, equation 14).
    """

    def __init__(self, choice: config.Beam):
        self._choice = choice

    def __call__(self, log_probability: Tensor, length: Tensor, covered: Tensor | None = None) -> Tensor:
        """The score, of the shape that the first two broadcast to; `covered`: (..., source time), the attention so far,
        1 at padding."""
        score = log_probability / self._divisor(length) + self._choice.reward * length
        if covered is None or not self._choice.coverage:
            return score
        return score + self._choice.coverage * covered.clamp(UNSEEN, 1).log().sum(dim=-1)

    def _divisor(self, length: Tensor) -> Tensor:
        match self._choice.normalisation:
            case "length":
                return length.float() ** self._choice.alpha
            case "gnmt":
                return ((5 + length.float()) / 6) ** self._choice.alpha
            case _:
                return torch.ones_like(length, dtype=torch.float)

    def hope(self, log_probability: Tensor, length: int) -> Tensor:
        """A bound that no continuation of an open hypothesis of `length` tokens exceeds; (sentences,) -> (sentences,).

        A further token's log-probability is at most 0, and so is cp. A continuation of T tokens therefore scores at
        most log p / n(T) + reward T with the current log p. The best T, from the next length (or `min_length`) to
        `max_length`, is the longest if the reward is not negative, as log p / n(T) only rises, but may be any
        otherwise. The bound is therefore the largest over all T.
        """
        first = min(max(length + 1, self._choice.min_length), self._choice.max_length)
        lengths = torch.arange(first, self._choice.max_length + 1, device=log_probability.device)
        return self(log_probability[:, None], lengths).amax(dim=1)
