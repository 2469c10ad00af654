"""Phrases that must come do come, and an unbounded beam finds the best hypotheses that have them."""

import random

import pytest
import torch
from tests.search.models import Table, beam, best_of, everything, run, same

from throughtime.search.constrained import Phrases


def contains(tokens: list[int], phrase: list[int]) -> bool:
    return any(tokens[start : start + len(phrase)] == phrase for start in range(len(tokens)))


def some_phrases(rng: random.Random, vocabulary: int, tokens: int) -> list[list[int]]:
    """Phrases of `tokens` tokens in all, none of them eos."""
    ordinary = [token for token in range(vocabulary) if token != 2]
    phrases: list[list[int]] = []
    while tokens:
        length = rng.randint(1, min(3, tokens))
        phrases.append([rng.choice(ordinary) for _ in range(length)])
        tokens -= length
    return phrases


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("stop", ["finished", "proven", "cutoff"])
def test_whatever_fits_is_contained(size: int, stop: str) -> None:
    rng = random.Random(size)
    for seed in range(15):
        model, longest = Table(8, seed, eos_bias=2.0), 6
        phrases = [some_phrases(rng, 8, rng.randint(0, longest)) for _ in range(4)]
        choice = beam(longest, size, stop=stop, n_best=size)
        for wanted, found in zip(phrases, run(model, [1, 2, 3, 4], choice, phrases=phrases), strict=True):
            assert found
            assert all(contains(hypothesis.tokens, phrase) for hypothesis in found for phrase in wanted)


def test_an_unbounded_beam_finds_the_best() -> None:
    rng = random.Random(1)
    for seed in range(15):
        model, wanted = Table(4, seed), some_phrases(rng, 4, 3)
        (found,) = run(model, [7], beam(5, 4**5, stop="proven", n_best=3), phrases=[wanted])
        everyone = best_of(everything(model, 7, 5), beam(5, 4**5, n_best=4**5))
        allowed = [h for h in everyone if h.finished and all(contains(h.tokens, phrase) for phrase in wanted)]
        same(found[: len(allowed)], allowed[:3])


def test_a_batch_is_its_rows_one_by_one() -> None:
    model, phrases = Table(8, 4, eos_bias=1.0), [[[3], [4, 5]], [], [[6, 6, 1]]]
    choice = beam(9, 3, n_best=3)
    for start, (wanted, found) in enumerate(zip(phrases, run(model, [0, 1, 2], choice, phrases=phrases), strict=True)):
        (alone,) = run(model, [start], choice, phrases=[wanted])
        assert all(contains(hypothesis.tokens, phrase) for hypothesis in alone for phrase in wanted)
        if start != 1:
            assert [h.tokens for h in found][:1] == [h.tokens for h in alone][:1]


def test_where_nothing_can_come_there_is_an_empty_hypothesis() -> None:
    (found,) = run(Table(4, 1), [3], beam(5, 2, n_best=2), phrases=[[[3]]], banned=[[0], [1], [3]])
    assert [(h.tokens, h.finished, h.length) for h in found] == [([], False, 0)]


def test_what_lacks() -> None:
    phrases = Phrases([[[4, 5, 6], [7]], [[8, 8]]], torch.device("cpu"))
    tokens = torch.tensor([[[4, 5, 3], [3, 4, 5], [7, 4, 5], [4, 5, 6]], [[8, 3, 8], [8, 8, 3], [3, 3, 3], [3, 8, 8]]])
    assert phrases.lacking(tokens, torch.tensor([0, 1])).tolist() == [[4, 2, 1, 1], [1, 0, 2, 0]]
