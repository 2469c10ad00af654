"""Contract 4: beam search against enumeration, greedy search and itself, on models whose every sequence can be scored."""

from itertools import product

import pytest
import torch
from torch import Tensor

from throughtime import config
from throughtime.data.tokenizer import EOS
from throughtime.search import search
from throughtime.search.score import Hypothesis

CODES = 4096


class Table:
    """A random model: the next token's distribution hangs on the whole history, through a hash of it."""

    def __init__(self, vocabulary: int, seed: int, eos_bias: float = 0.0):
        self.vocabulary = vocabulary
        self.logits = 2 * torch.randn(CODES, vocabulary, generator=torch.Generator().manual_seed(seed))
        self.logits[:, EOS] += eos_bias

    def start(self, batch: list[list[int]]) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(batch), dtype=torch.long), torch.tensor([row[0] for row in batch])

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = (state * 31 + tokens + 1) % CODES
        return torch.log_softmax(self.logits[state], dim=-1), state

    def reorder(self, state: Tensor, rows: Tensor) -> Tensor:
        return state[rows]


def enumerate_all(model: Table, start: int, longest: int, alpha: float) -> list[Hypothesis]:
    """Every sequence the model can produce in `longest` tokens, eos included, finished ones first, best first."""
    finished, cut = [], []
    state = torch.tensor([start])
    paths = [([], 0.0, torch.zeros(1, dtype=torch.long), state)]
    for length in range(1, longest + 1):
        grown = []
        for tokens, total, last, state in paths:
            scores, after = model.step(last, state)
            for token, score in enumerate(scores[0].tolist()):
                log_probability = total + score
                if token == EOS:
                    finished.append(Hypothesis(tokens, log_probability, log_probability / length**alpha, length, True))
                else:
                    grown.append(([*tokens, token], log_probability, torch.tensor([token]), after))
        paths = grown
    cut = [Hypothesis(tokens, total, total / longest**alpha, longest, False) for tokens, total, _, _ in paths]
    return [*sorted(finished, key=lambda h: -h.score), *sorted(cut, key=lambda h: -h.score)]


def beam(longest: int, size: int, alpha: float, stop: str, n_best: int = 1) -> config.Beam:
    return config.Beam("beam", longest, size, alpha, stop, n_best)


def same(ours: list[Hypothesis], theirs: list[Hypothesis]) -> None:
    assert [(h.tokens, h.length, h.finished) for h in ours] == [(h.tokens, h.length, h.finished) for h in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)


def run(model: Table, batch: list[list[int]], choice: config.Search) -> list[list[Hypothesis]]:
    return search(choice, model, batch, torch.Generator())


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("vocabulary", "longest"), [*product((3, 4, 5), (1, 2, 3, 4)), (3, 6)])
def test_an_unbounded_beam_is_enumeration(vocabulary: int, longest: int, alpha: float) -> None:
    size = vocabulary**longest
    for seed, stop in product(range(3), ("proven", "cutoff")):
        model, batch = Table(vocabulary, seed), [[11], [23], [57]]
        choice = beam(longest, size, alpha, stop, n_best=min(5, size))
        for start, found in zip(batch, run(model, batch, choice), strict=True):
            same(found, enumerate_all(model, start[0], longest, alpha)[: choice.n_best])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_proof_stops_no_search_early(size: int, alpha: float) -> None:
    stopped_early = 0
    for seed in range(20):
        model, batch = Table(6, seed, eos_bias=1.0), [[seed], [seed + 100]]
        proven, to_the_end = (run(model, batch, beam(12, size, alpha, stop)) for stop in ("proven", "cutoff"))
        for one, other in zip(proven, to_the_end, strict=True):
            same(one, other)
        steps = CountedSteps(model)
        run(steps, batch, beam(12, size, alpha, "proven"))
        stopped_early += steps.count < 12
    if alpha <= 1:  # beyond, long hypotheses score so well that hope is rarely lost before the cutoff
        assert stopped_early, "the proof never saved a step, so this test shows nothing"


class CountedSteps(Table):
    def __init__(self, model: Table):
        self.__dict__.update(model.__dict__)
        self.count = 0

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.count += 1
        return super().step(tokens, state)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(alpha: float) -> None:
    for seed in range(20):
        model, batch = Table(7, seed, eos_bias=0.5), [[seed], [seed + 40], [seed + 80]]
        greedy = run(model, batch, config.Greedy("greedy", 9))
        narrow = run(model, batch, beam(9, 1, alpha, "finished"))
        assert [h.tokens for (h,) in narrow] == [h.tokens for (h,) in greedy]
        for (one,), (other,) in zip(narrow, greedy, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)


@pytest.mark.parametrize("stop", ["finished", "proven", "cutoff"])
def test_a_batch_is_its_rows_one_by_one(stop: str) -> None:
    for seed in range(10):
        model, batch = Table(6, seed, eos_bias=1.0), [[start] for start in range(8)]
        choice = beam(10, 4, 0.8, stop, n_best=3)
        together = run(model, batch, choice)
        for row, found in zip(batch, together, strict=True):
            same(found, run(model, [row], choice)[0])


def rescore(model: Table, start: int, hypothesis: Hypothesis) -> float:
    tokens = [*hypothesis.tokens, EOS] if hypothesis.finished else hypothesis.tokens
    last, state = model.start([[start]])
    total = 0.0
    for token in tokens:
        scores, state = model.step(last, state)
        total, last = total + float(scores[0, token]), torch.tensor([token])
    return total


@pytest.mark.parametrize(
    "choice",
    [beam(8, 4, 0.7, "finished", 4), config.Greedy("greedy", 8), config.Sample("sample", 8, 4, 0.7, 3, 0.9)],
    ids=lambda choice: choice.name,
)
def test_scores_equal_rescoring(choice: config.Search) -> None:
    for seed in range(10):
        model = Table(6, seed)
        for hypothesis in run(model, [[seed]], choice)[0]:
            assert hypothesis.log_probability == pytest.approx(rescore(model, seed, hypothesis), abs=1e-4)
            assert hypothesis.length == len(hypothesis.tokens) + hypothesis.finished <= 8
