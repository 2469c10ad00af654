"""What a hypothesis is worth."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Hypothesis:
    """One result of a search.

    `tokens` come without eos; `log_probability` is the sum over all of them and eos where `finished`; `length` counts the
    same tokens; `score` is what the search ranked by.
    """

    tokens: list[int]
    log_probability: float
    score: float
    length: int
    finished: bool


def normalise(log_probability: Tensor, length: int, alpha: float) -> Tensor:
    """log p / length^alpha: 0 is none, 1 the mean over tokens (Boulanger-Lewandowski et al. 2013)."""
    return log_probability / length**alpha


def best_possible(log_probability: Tensor, longest: int, alpha: float) -> Tensor:
    """The highest score that any continuation of an open hypothesis can still reach.

    A continuation's log-probability is at most the present one, which is at most 0, and length^alpha grows with length
    where alpha >= 0. So the bound is the present log-probability over the largest divisor there is.
    """
    return log_probability / longest**alpha
