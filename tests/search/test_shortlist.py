"""A search among listed words is the search of a model that has no others."""

import pytest
import torch
from tests.search.models import beam, greedy, same, sampling
from tests.search.test_forced import SOURCES, translator
from torch import Tensor

from throughtime import config
from throughtime.data.tokenizer import BOS
from throughtime.nn.models import EncoderDecoder
from throughtime.nn.precision import why_not
from throughtime.search import Demands, Ensemble, Fusion, Shortlist, search, stepper_of
from throughtime.search.score import Hypothesis
from throughtime.search.searching import NO_DEMANDS
from throughtime.search.stepper import Stepper

WORDS = 12
CHOICES = [beam(8, 4, n_best=4), beam(8, 4, groups=2), greedy(8), sampling(8, 3), beam(8, 3, contains=["x"])]
LIKELY = torch.tensor([[2, 2]] * 4 + [[word, 4 + (word + 3) % 8] for word in range(4, WORDS)])
EVERYTHING = Shortlist(LIKELY, torch.arange(WORDS))
SOME = Shortlist(LIKELY, torch.tensor([5]))


def found(
    stepper: Stepper, choice: config.Search, shortlist: Shortlist | None, demands: Demands = NO_DEMANDS
) -> list[list[Hypothesis]]:
    random = torch.Generator().manual_seed(3)
    return search(choice, stepper, SOURCES, random, demands, shortlist=shortlist)


def models() -> dict[str, Stepper]:
    one, other = stepper_of(translator()), stepper_of(translator("context=initial_state"))
    return {"alone": one, "ensemble": Ensemble([one, other], "loglinear"), "fusion": Fusion(one, other, 0.0)}


@pytest.mark.parametrize("name", ["alone", "ensemble", "fusion"])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_a_list_of_everything_changes_nothing(choice: config.Search, name: str) -> None:
    demands = Demands(contained=[[7, 9]] if isinstance(choice, config.Beam) and choice.contains else [])
    stepper = models()[name]
    pairs = zip(found(stepper, choice, EVERYTHING, demands), found(stepper, choice, None, demands), strict=True)
    for ours, theirs in pairs:
        same(ours, theirs)


def listed_log_probability(model: EncoderDecoder, source: list[int], tokens: list[int], words: Tensor) -> float:
    """By the model's own softmax over these words."""
    read = torch.tensor([[*source, 2]])
    logits = model(read, torch.tensor([read.shape[1]]), torch.tensor([[BOS, *tokens[:-1]]]))[0]
    scores = torch.full((WORDS,), -torch.inf).scatter(0, words, 0.0) + logits
    return float(torch.log_softmax(scores, dim=-1).gather(1, torch.tensor(tokens)[:, None]).sum())


@pytest.mark.parametrize(
    "precision", [name for name in ("float32", "bf16", "int8") if not why_not(name, torch.device("cpu"))]
)  # type: ignore[arg-type]
@torch.no_grad()
def test_nothing_else_is_found_and_the_rest_shares_its_probability(precision: str) -> None:
    model = translator()
    words = torch.tensor(SOME.of(SOURCES, Demands()).words)
    assert set(words.tolist()) == {0, 1, 2, 3, 5, *LIKELY[[word for row in SOURCES for word in row]].flatten().tolist()}
    for source, row in zip(SOURCES, found(stepper_of(model, precision), beam(8, 4, n_best=4), SOME), strict=True):  # type: ignore[arg-type]
        for hypothesis in row:
            assert set(hypothesis.tokens) <= set(words.tolist())
            tokens = [*hypothesis.tokens, *[2] * hypothesis.finished]
            expected = listed_log_probability(model, source, tokens, words)
            assert hypothesis.log_probability == pytest.approx(expected, abs=1e-4 if precision == "float32" else 0.5)


def test_what_is_demanded_is_listed() -> None:
    assert SOME.of([[4]], Demands()).words == [0, 1, 2, 3, 4, 5, 11]
    demands = Demands(prefixes=[[8], [], []], phrases=[[], [[9, 10]], []], contained=[[6]], banned=[[4], [7, 4]])
    rows = found(
        stepper_of(translator()), beam(8, 4, contains=["x"]), Shortlist(LIKELY[:, :1], torch.tensor([4])), demands
    )
    assert rows[0][0].tokens[0] == 8
    assert all(6 in row[0].tokens and 4 not in row[0].tokens for row in rows)
    assert "9, 10" in str(rows[1][0].tokens)
