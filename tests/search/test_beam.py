"""Contract 4: beam search against enumeration, greedy search and itself."""

import random
from itertools import product

import pytest
from tests.search.models import Table, beam, best_of, everything, greedy, run, same, sampling

from throughtime import config
from throughtime.data.tokenizer import EOS

SCORES: list[dict[str, object]] = [
    {"normalisation": "none"},
    {"normalisation": "length"},
    {"normalisation": "length", "alpha": 0.6},
    {"normalisation": "length", "alpha": 2.0, "coverage": 0.3},
    {"normalisation": "gnmt", "alpha": 0.6, "coverage": 0.2},
    {"normalisation": "gnmt", "alpha": 2.0, "reward": -0.5},
    {"normalisation": "none", "reward": 0.7},
    {"normalisation": "length", "reward": -0.3, "min_length": 2},
]
SHAPES = [
    (vocabulary, longest) for vocabulary, longest in product((3, 4, 5), range(1, 7)) if vocabulary**longest < 5000
]
STARTS = [11, 23, 57]


def test_an_unbounded_beam_is_enumeration() -> None:
    cases = 0
    for (vocabulary, longest), seed in product(SHAPES, range(3)):
        model = Table(vocabulary, 10 * seed + longest)
        paths = [everything(model, start, longest) for start in STARTS]
        for score, stop in product(SCORES, ("proven", "cutoff")):
            settings = {"min_length": 0} | score | {"stop": stop, "n_best": min(5, vocabulary)}
            settings["min_length"] = min(settings["min_length"], longest)
            choice = beam(longest, vocabulary**longest, **settings)
            for every, found in zip(paths, run(model, STARTS, choice), strict=True):
                same(found, best_of(every, choice))
                cases += 1
    assert cases >= 2000


@pytest.mark.parametrize("score", SCORES, ids=str)
def test_the_proof_stops_no_search_early(score: dict[str, object]) -> None:
    saved = 0
    for seed, size in product(range(10), (1, 2, 3, 5)):
        model, starts = Table(6, seed, eos_bias=1.0), [seed, seed + 100, seed + 200]
        settings = {"n_best": min(size, 2)} | score
        to_the_end = run(model, starts, beam(12, size, **settings, stop="cutoff"))
        model.steps = 0
        for one, other in zip(run(model, starts, beam(12, size, **settings, stop="proven")), to_the_end, strict=True):
            same(one, other)
        saved += 12 - model.steps
    if score["normalisation"] == "none" and "reward" not in score:
        assert saved, "the proof never saved a step, so this test shows nothing"


@pytest.mark.parametrize("score", SCORES[:5], ids=str)
def test_a_beam_of_one_is_greedy(score: dict[str, object]) -> None:
    for seed in range(20):
        model, starts = Table(7, seed, eos_bias=0.5), [seed, seed + 40, seed + 80]
        for (one,), (other,) in zip(
            run(model, starts, beam(9, 1, **score)), run(model, starts, greedy(9)), strict=True
        ):
            assert (one.tokens, one.finished) == (other.tokens, other.finished)
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-5)


@pytest.mark.parametrize("stop", ["finished", "proven", "cutoff"])
@pytest.mark.parametrize("vocabulary", [6, 700])
def test_a_batch_is_its_rows_one_by_one_in_any_order(stop: str, vocabulary: int) -> None:
    for seed in range(5):
        model, starts = Table(vocabulary, seed, eos_bias=2.0), list(range(8))
        choice = beam(10, 4, alpha=0.8, stop=stop, n_best=3, coverage=0.1)
        together = run(model, starts, choice)
        shuffled = random.Random(seed).sample(starts, len(starts))
        for start, found in zip(shuffled, run(model, shuffled, choice), strict=True):
            same(found, together[start], tolerance=0)
        for start, found in zip(starts, together, strict=True):
            same(found, run(model, [start], choice)[0], tolerance=0)


def test_as_many_finish_as_asked() -> None:
    for wanted in (2, 4, 9):
        model = Table(6, 1, eos_bias=1.0)
        run(model, [3], beam(40, 4, finished=wanted, n_best=2))
        few, model.steps = model.steps, 0
        run(model, [3], beam(40, 4, finished=wanted + 6, n_best=2))
        assert few < model.steps < 40


@pytest.mark.parametrize(
    "choice",
    [beam(8, 4, alpha=0.7, n_best=4), greedy(8), sampling(8, 4, temperature=0.7, top_k=3, top_p=0.9)],
    ids=lambda choice: choice.name,
)
def test_log_probabilities_equal_those_of_the_path(choice: config.Search) -> None:
    for seed in range(10):
        model = Table(6, seed)
        for hypothesis in run(model, [seed], choice)[0]:
            steps, _ = model.path(seed, [*hypothesis.tokens, *[EOS] * hypothesis.finished])
            assert hypothesis.log_probability == pytest.approx(sum(steps), abs=1e-5)
            assert hypothesis.length == len(steps) <= 8
