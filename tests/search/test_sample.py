"""Sampling draws from exactly the distribution it claims."""

import math
from collections.abc import Callable

import pytest
import torch
from tests.search.models import sampling

from throughtime.data.tokenizer import EOS
from throughtime.nn.state import State
from throughtime.search import Demands
from throughtime.search.sample import keep_top_k, keep_top_p, sample
from throughtime.search.stepper import Batch, Scores

LOGITS = torch.tensor([0.5, -1.0, -2.0, 1.5, 1.5, 0.1, -0.3])


class OneStep:
    """The same distribution whatever came before."""

    def start(self, batch: Batch) -> tuple[torch.Tensor, State]:
        return torch.zeros(len(batch), dtype=torch.long), torch.zeros(len(batch), 1)

    def step(self, tokens: torch.Tensor, state: State) -> tuple[Scores, State]:
        return Scores(torch.log_softmax(LOGITS, -1).expand(*tokens.shape, -1).clone()), state

    def reorder(self, state: State, rows: torch.Tensor, sentences: torch.Tensor | None = None) -> State:
        return state[rows.flatten()]


def expected(temperature: float, top_k: int | None, top_p: float | None, min_p: float, typical: float) -> list[float]:
    """The distribution written out in plain Python, cut after cut."""
    weights = {token: math.exp(float(logit) / temperature) for token, logit in enumerate(LOGITS)}
    weights = dict(sorted(weights.items(), key=lambda item: -item[1])[:top_k])
    weights = first_of_mass(weights, lambda p: -p, top_p or 1.0)
    weights = {token: weight for token, weight in weights.items() if weight >= min_p * max(weights.values())}
    total = sum(weights.values())
    entropy = -sum(weight / total * math.log(weight / total) for weight in weights.values())
    weights = first_of_mass(weights, lambda p: abs(-math.log(p) - entropy), typical)
    total = sum(weights.values())
    return [weights.get(token, 0.0) / total for token in range(len(LOGITS))]


def first_of_mass(weights: dict[int, float], order: Callable[[float], float], mass: float) -> dict[int, float]:
    total, so_far, kept = sum(weights.values()), 0.0, {}
    for token in sorted(weights, key=lambda token: order(weights[token] / total)):
        if so_far < mass:
            kept[token] = weights[token]
        so_far += weights[token] / total
    return kept


CUTS = [
    {"temperature": 1.0},
    {"temperature": 0.5},
    {"top_k": 3},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"typical": 0.6},
    {"temperature": 1.5, "top_k": 5, "top_p": 0.8, "min_p": 0.1, "typical": 0.9},
]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_frequencies_match(cut: dict[str, float]) -> None:
    count = 20_000
    random = torch.Generator().manual_seed(3)
    drawn = sample(OneStep(), [[0]], sampling(1, count, **cut), Demands(), random)[0]
    counts = torch.bincount(torch.tensor([(h.tokens or [EOS])[0] for h in drawn]), minlength=len(LOGITS))
    exact = expected(**({"temperature": 1.0, "top_k": None, "top_p": None, "min_p": 0.0, "typical": 1.0} | cut))
    chi_square, freedom = 0.0, -1
    for seen, probability in zip(counts.tolist(), exact, strict=True):
        if probability == 0:
            assert seen == 0
            continue
        chi_square += (seen - count * probability) ** 2 / (count * probability)
        freedom += 1
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5 + 5


def test_filters_keep_at_least_one_and_no_ties_too_many() -> None:
    ties = torch.zeros(2, 6)
    assert keep_top_k(ties, 2).isfinite().sum(-1).tolist() == [2, 2]
    assert keep_top_p(LOGITS[None], 1e-9).isfinite().sum() == 1
    assert keep_top_p(ties, 1.0).isfinite().all()


def test_a_seed_repeats_and_another_differs() -> None:
    runs = [
        sample(OneStep(), [[0], [0]], sampling(12, 3), Demands(), torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]
