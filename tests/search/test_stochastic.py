"""Stochastic beam search draws sequences without replacement with exactly the probabilities of drawing them one by one."""

from itertools import permutations

import torch
from tests.search.models import LIMITS, Table, everything, run

from throughtime import config
from throughtime.data.tokenizer import EOS

DRAWS = 6000


def stochastic(max_length: int, size: int) -> config.StochasticBeam:
    named = {"name": "stochastic_beam", "max_length": max_length, "size": size}
    return config.check(LIMITS | named, config.StochasticBeam)


def test_ordered_samples_have_their_exact_frequencies() -> None:
    model, longest = Table(3, 5, sharpness=1.0), 3
    finished, cut = everything(model, 9, longest)
    exact = {
        tuple(tokens): float(total.exp())
        for paths in (*finished, cut)
        for tokens, total in zip(paths.tokens.tolist(), paths.log_probability, strict=True)
    }
    assert abs(sum(exact.values()) - 1) < 1e-9
    seen: dict[tuple[tuple[int, ...], ...], int] = {}
    for found in run(model, [9] * DRAWS, stochastic(longest, 2)):
        drawn = tuple((*h.tokens, *[EOS] * h.finished) for h in found)
        assert found[0].score >= found[1].score
        seen[drawn] = seen.get(drawn, 0) + 1
    chi_square, freedom, rare, rare_seen = 0.0, -1, 0.0, 0
    for first, second in permutations(exact, 2):
        expected = DRAWS * exact[first] * exact[second] / (1 - exact[first])
        count = seen.pop((first, second), 0)
        if expected < 5:
            rare, rare_seen = rare + expected, rare_seen + count
            continue
        chi_square, freedom = chi_square + (count - expected) ** 2 / expected, freedom + 1
    chi_square += (rare_seen - rare) ** 2 / max(rare, 1.0)
    assert not seen
    assert freedom > 20
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5 + 5


def test_all_differ_and_carry_their_own_log_probability() -> None:
    for seed in range(10):
        model = Table(6, seed, eos_bias=1.0)
        for start, found in zip([1, 2], run(model, [1, 2], stochastic(7, 8)), strict=True):
            assert len({tuple(h.tokens) for h in found}) == 8
            for hypothesis in found:
                steps, _ = model.path(start, [*hypothesis.tokens, *[EOS] * hypothesis.finished])
                assert abs(hypothesis.log_probability - sum(steps)) < 1e-4
                assert hypothesis.length == len(steps)


def test_a_large_enough_sample_is_everything() -> None:
    (found,) = run(Table(3, 1), [4], stochastic(2, 50))
    assert len(found) == 1 + 2 * 3
    assert abs(sum(torch.tensor([h.log_probability for h in found]).exp()) - 1) < 1e-5
