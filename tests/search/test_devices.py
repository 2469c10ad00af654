"""Every search finds on another device what it finds on the CPU, and waits for it no more than twice a step."""

from collections.abc import Callable

import pytest
import torch
from tests.conftest import settings
from tests.elsewhere import Device

from throughtime import build, config
from throughtime.search import Demands, Ensemble, Fusion, Shortlist, Stepper, force, search, stepper_of

WORDS, LONGEST = 13, 9
BATCH = [[5, 6, 7], [8], [9, 9, 9, 9]]
SEARCHES = [
    "greedy",
    "beam search.n_best=3",
    "beam search.stop=cutoff search.normalisation=gnmt",
    "beam search.coverage=0.2",
    "beam search.block_ngrams=2 search.repetition=1.2 search.min_length=4",
    "diverse",
    "stochastic_beam search.size=3",
    "sample search.top_k=4",
    "sample search.top_p=0.9 search.samples=3",
    "sample search.min_p=0.1",
    "sample search.typical=0.9",
    "minimum_bayes_risk search.samples=3",
]
DEMANDS = [
    Demands(prefixes=[[5, 6], [], [7]]),
    Demands(contained=[[5, 6]], phrases=[[[7]], [], []]),
    Demands(banned=[[5], [6, 7]]),
]
FORMS = [
    "context=initial_state",
    "context=every_step_output cell=gru",
    "context=location context.query=before context.input_feeding=true",
    "context=multihead model.depth=2 cell=layer_norm_lstm",
    "data=stories model=prefix_lm tokenizer.joint=true",
    "data=stdlib_docs",
]


def on(device: str, form: str = "context=general", seed: int = 0) -> Stepper:
    torch.manual_seed(seed)
    small = settings("model.hidden=8", "model.embedding=8", *form.split())
    return stepper_of(build.model(small, dict.fromkeys(("source", "target", "text"), WORDS)).eval().to(device))


def of(choice: str) -> config.Search:
    return settings(f"search.max_length={LONGEST}", *f"search={choice}".split()).search


def found_alike(
    device: Device,
    choice: str,
    stepper: Callable[[str], Stepper],
    demands: Demands = Demands(),  # noqa: B008 - it is immutable
    shortlist: Shortlist | None = None,
) -> None:
    here, there = stepper("cpu"), stepper("meta")
    device.waits.clear()
    rows = {
        one: search(of(choice), one, BATCH, torch.Generator().manual_seed(1), demands, shortlist=shortlist)
        for one in (here, there)
    }
    for ours, theirs in zip(rows[here], rows[there], strict=True):
        assert [one.tokens for one in ours] == [one.tokens for one in theirs]
        assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], abs=1e-5)


@pytest.mark.parametrize("choice", SEARCHES)
def test_a_search(device: Device, choice: str) -> None:
    found_alike(device, choice, on)
    results = 9 if choice.startswith(("beam", "diverse")) else 3 * LONGEST
    assert device.waits["to cpu"] <= results
    del device.waits["to cpu"]
    assert device.waits.total() <= 2 * LONGEST + len(BATCH)


@pytest.mark.parametrize("demands", DEMANDS, ids=["prefixes", "contained", "banned"])
def test_demands(device: Device, demands: Demands) -> None:
    found_alike(device, "beam", on, demands)


@pytest.mark.parametrize("form", FORMS)
def test_a_model(device: Device, form: str) -> None:
    found_alike(device, "beam", lambda place: on(place, form))


def test_models_together_and_few_words(device: Device) -> None:
    shortlist = Shortlist(torch.randint(4, WORDS, (WORDS, 3)), torch.tensor([4, 5]))
    found_alike(device, "beam", lambda place: Ensemble([on(place), on(place, seed=1)]), shortlist=shortlist)
    found_alike(device, "beam", lambda place: Fusion(on(place), on(place, "data=stdlib_docs"), 0.3))


def test_force_decoding(device: Device) -> None:
    targets = [[5, 6, 2], [2], [7, 8, 9, 2]]
    here, there = (force(on(place), BATCH, targets) for place in ("cpu", "meta"))
    for ours, theirs in zip(here, there, strict=True):
        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-5)
