"""A prefix model is its language model read in one go: prefix, eos, bos, continuation."""

import pytest
import torch
from tests.conftest import AWD, settings
from torch import Tensor

from throughtime import build
from throughtime.data.pairs import collate
from throughtime.data.tokenizer import BOS, EOS
from throughtime.nn.models import PrefixModel
from throughtime.search import search, stepper_of

SOURCES = [[5, 6, 7, 8, 9], [10], [7, 7, 5]]
TARGETS = [[6, 5], [9, 8, 7, 6, 5], [4]]
SMALL = ["data=stories", "model=prefix_lm", "tokenizer.joint=true", "model.embedding=5", "model.hidden=6"]


@pytest.fixture(params=["cell=lstm", "cell=gru", "cell=projected_lstm"])
def model(request: pytest.FixtureRequest) -> PrefixModel:
    torch.manual_seed(3)
    built = build.model(settings(*SMALL, request.param, "model.depth=2"), {"source": 13, "target": 13})
    assert isinstance(built, PrefixModel)
    return built.double()


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def in_one_go(model: PrefixModel, source: list[int], target: list[int]) -> Tensor:
    """Logits behind bos and each token of the target, (time, vocabulary)."""
    logits, _ = model.language_model(torch.tensor([[*source, EOS, BOS, *target]]))
    return logits[0, len(source) + 1 :]


def test_a_mixed_batch_is_each_text_in_one_go(model: PrefixModel) -> None:
    batch = collate(SOURCES, TARGETS)
    logits = model(batch.source, batch.source_lengths, batch.tokens)
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        close(logits[row, : len(target) + 1], in_one_go(model, source, target))


def test_chunks_cut_the_gradient_and_nothing_else(model: PrefixModel) -> None:
    batch = collate(SOURCES, TARGETS)
    whole = model(batch.source, batch.source_lengths, batch.tokens)
    cut = model(batch.source, batch.source_lengths, batch.tokens, chunk=2)
    close(cut, whole)
    weights = list(model.language_model.stack.parameters())
    last = batch.tokens.shape[1] - 1  # of the third chunk, which sees nothing of the prefix in its gradient
    gradients = [torch.autograd.grad(logits[1, last].sum(), weights, retain_graph=True) for logits in (whole, cut)]
    assert any(not torch.allclose(ours, theirs) for ours, theirs in zip(*gradients, strict=True))


def test_a_text_that_comes_in_parts_is_dropped_by_one_mask() -> None:
    """Of the prefix and of every chunk behind it, in training."""
    locked = [*AWD, "dropout.words=0.4", "dropout.inputs=0.4", "dropout.outputs=0.4", "dropout.weights=0.4"]
    built = build.model(settings(*SMALL, *locked), {"source": 13, "target": 13}).double()
    assert isinstance(built, PrefixModel)
    batch, found = collate(SOURCES, TARGETS), []
    for chunk in (None, 2):
        torch.manual_seed(5)
        found.append(built.features(batch.source, batch.source_lengths, batch.tokens, chunk))
    close(*found)
    torch.manual_seed(5)
    noise = built.language_model.draw(len(SOURCES))
    assert noise is not None and noise.words is not None
    gone = (noise.words == 0).nonzero().flatten().tolist()
    in_sources = [word for word in gone if any(word in source for source in SOURCES)]
    assert in_sources  # a word of a prefix that is dropped there, too:
    built.language_model.embedding.weight.data[in_sources] += 1
    torch.manual_seed(5)
    close(built.features(batch.source, batch.source_lengths, batch.tokens), found[0])


def test_greedy_search_goes_on_from_the_prefix(model: PrefixModel) -> None:
    choice = settings("search=greedy", "search.max_length=6").search
    found = search(choice, stepper_of(model.float()), SOURCES, torch.Generator())
    for source, (hypothesis,) in zip(SOURCES, found, strict=True):
        target: list[int] = []
        while len(target) < 6 and EOS not in target:
            logits = in_one_go(model, source, target)[-1].detach().clone()
            logits[[0, BOS]] = -torch.inf
            target.append(int(logits.argmax()))
        assert hypothesis.tokens == [token for token in target if token != EOS]
