"""Force decoding gives back what a search found, and what the model itself says of a pair."""

import pytest
import torch
from tests.conftest import settings
from tests.search.models import Table, beam, greedy, run, same, sampling

from throughtime import build, config
from throughtime.data.pairs import collate
from throughtime.data.tokenizer import EOS
from throughtime.nn.models import EncoderDecoder
from throughtime.search import complete, force, search, search_all, stepper_of

SOURCES = [[5, 6, 7, 8, 9], [4], [10, 11, 5]]
CHOICES = [beam(8, 4, n_best=4), beam(8, 3, coverage=0.2, stop="proven", n_best=3), greedy(8), sampling(8, 4)]


def translator(*overrides: str) -> EncoderDecoder:
    torch.manual_seed(1)
    chosen = settings("model.hidden=8", "model.embedding=4", *overrides)
    model = build.model(chosen, {"source": 12, "target": 12})
    torch.nn.init.normal_(model.output.weight)
    return model.eval()  # type: ignore[return-value]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.name)
def test_a_search_returns_what_force_decoding_finds(choice: config.Search) -> None:
    stepper = stepper_of(translator("context=additive", "model.depth=2"))
    results = search(choice, stepper, SOURCES, torch.Generator().manual_seed(1))
    rows = [(source, found) for source, hypotheses in zip(SOURCES, results, strict=True) for found in hypotheses]
    forced = force(stepper, [source for source, _ in rows], [complete(found) for _, found in rows])
    for (source, found), scores in zip(rows, forced, strict=True):
        assert len(scores.log_probabilities) == found.length
        assert sum(scores.log_probabilities) == pytest.approx(found.log_probability, abs=1e-5)
        assert scores.attention is not None
        assert torch.tensor(scores.attention).sum(-1).tolist() == pytest.approx([1.0] * found.length, abs=1e-5)
        assert {len(step) for step in scores.attention} == {len(source) + 1}


@pytest.mark.parametrize("stop", ["proven", "finished"])
def test_padding_and_company_change_nothing(stop: str) -> None:
    stepper, choice = stepper_of(translator()), beam(8, 4, n_best=4, coverage=0.3, stop=stop)
    together = search(choice, stepper, SOURCES, torch.Generator())
    for source, found in zip(SOURCES, together, strict=True):
        same(search(choice, stepper, [source], torch.Generator())[0], found)
    sorted_by_length = search_all(choice, stepper, SOURCES, torch.Generator(), 2)
    for one, other in zip(sorted_by_length, together, strict=True):
        same(one, other)


def test_force_decoding_is_teacher_forcing() -> None:
    model, targets = translator("context=initial_state"), [[4, 5, EOS], [6, EOS], [7, 8, 9, 10]]
    batch = collate(SOURCES, targets)
    whole = torch.log_softmax(model(batch.source, batch.source_lengths, batch.tokens), dim=-1)
    for row, (target, scores) in enumerate(zip(targets, force(stepper_of(model), SOURCES, targets), strict=True)):
        exact = [float(whole[row, time, token].detach()) for time, token in enumerate(target)]
        assert scores.log_probabilities == pytest.approx(exact, abs=1e-5)
        assert scores.attention is None


def test_the_same_for_any_stepper() -> None:
    model = Table(6, 3)
    (found,) = run(model, [7], beam(9, 3))[0]
    (scores,) = force(model, [[7]], [complete(found)])
    assert scores.log_probabilities == pytest.approx(model.path(7, complete(found))[0], abs=1e-5)
