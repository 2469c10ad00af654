"""Sampling draws from exactly the distribution it claims."""

import pytest
import torch

from throughtime import config
from throughtime.nn.state import State
from throughtime.search.sample import keep_top_k, keep_top_p, sample
from throughtime.search.stepper import Batch

LOGITS = torch.tensor([0.5, -1.0, -2.0, 1.5, 1.5, 0.1, -0.3])


class OneStep:
    """The same distribution whatever came before."""

    def start(self, batch: Batch) -> tuple[torch.Tensor, State]:
        return torch.zeros(len(batch), dtype=torch.long), torch.zeros(len(batch), 1)

    def step(self, tokens: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        return torch.log_softmax(LOGITS, -1).expand(len(tokens), -1), state

    def reorder(self, state: State, rows: torch.Tensor) -> State:
        return state[rows]


def expected(temperature: float, top_k: int | None, top_p: float | None) -> list[float]:
    """The distribution written out in plain Python."""
    weights = [pow(2.718281828459045, float(logit) / temperature) for logit in LOGITS]
    total = sum(weights)
    order = sorted(range(len(weights)), key=lambda token: -weights[token])[:top_k]
    mass = sum(weights[token] for token in order) if top_k else total
    kept, so_far = [], 0.0
    for token in order:
        if top_p is not None and so_far >= top_p:
            break
        kept.append(token)
        so_far += weights[token] / mass
    total = sum(weights[token] for token in kept)
    return [weights[token] / total if token in kept else 0.0 for token in range(len(weights))]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, None, None), (0.5, None, None), (1.0, 3, None), (1.0, None, 0.7), (1.5, 5, 0.8)],
)
def test_frequencies_match(temperature: float, top_k: int | None, top_p: float | None) -> None:
    count = 20_000
    choice = config.Sample("sample", 1, count, temperature, top_k, top_p)
    drawn = sample(OneStep(), [[0]], choice, torch.Generator().manual_seed(3))[0]
    counts = torch.bincount(torch.tensor([(h.tokens or [2])[0] for h in drawn]), minlength=len(LOGITS))
    chi_square, freedom = 0.0, -1
    for seen, probability in zip(counts.tolist(), expected(temperature, top_k, top_p), strict=True):
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
    choice = config.Sample("sample", 12, 3, 1.0, None, None)
    runs = [sample(OneStep(), [[0], [0]], choice, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
