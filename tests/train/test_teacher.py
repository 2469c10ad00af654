"""What the decoder is fed in training."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS, settings

from throughtime import build
from throughtime.data.tokenizer import BOS, PAD, UNK
from throughtime.train.teacher import own_share, some_places, with_unknown

TOKENS = torch.randint(4, 9, (50, 41), generator=torch.Generator().manual_seed(1))


def test_the_share_follows_the_papers_curves() -> None:
    teachers = {name: settings(f"teacher={name}", *steps).teacher for name, steps in {
        "forcing": (), "constant": ("teacher.share=0.4",), "linear": ("teacher.share=0.4", "teacher.steps=8"),
        "inverse_sigmoid": ("teacher.steps=50",)}.items()}  # fmt: skip
    for step in (0, 2, 8, 200, 10**9):
        shares = {name: own_share(teacher, step) for name, teacher in teachers.items()}
        kept = 50 / (50 + math.exp(step / 50)) if step < 1000 else 0.0
        expected = {"forcing": 0.0, "constant": 0.4, "linear": min(0.4, 0.4 * step / 8), "inverse_sigmoid": 1 - kept}
        assert shares == pytest.approx(expected)


def test_words_go_unknown_at_their_rate_but_never_the_first() -> None:
    dropped = with_unknown(TOKENS, 0.3)
    unknown = dropped == UNK
    assert torch.equal(dropped[~unknown], TOKENS[~unknown])
    assert not unknown[:, 0].any()
    assert abs(float(unknown[:, 1:].double().mean()) - 0.3) < 5 * (0.3 * 0.7 / 2000) ** 0.5
    assert with_unknown(TOKENS, 0.0) is TOKENS


@pytest.mark.parametrize("form", ["context=initial_state", "context=general", "context.input_feeding=true"])
def test_own_words_are_the_models(form: str, double: None) -> None:
    """A model that always says 7, as far as it may, is fed 7 where its own word is asked for, else the target's."""
    model = build.model(settings("model.hidden=6", "model.embedding=5", form), {"source": 9, "target": 9})
    with torch.no_grad():
        model.output.bias[7] = 1000.0
        model.output.bias[[PAD, BOS]] = 2000.0
    tokens, lengths = TOKENS[:3, :6], torch.tensor([6, 6, 6])
    own = some_places(tokens, 0.5)
    mixed = torch.where(own, 7, tokens)
    assert not torch.equal(mixed, tokens)
    expected = model.features(tokens, lengths, mixed)
    for chunk in (None, 2):
        torch.testing.assert_close(model.features(tokens, lengths, tokens, chunk, own), expected)


def test_evaluation_reads_the_target(train: Callable[..., Path]) -> None:
    """The same weights have the same validation loss, whoever teaches."""
    losses = []
    for choice in ("forcing", "constant"):
        folder = train(*FEW_NUMBERS, f"teacher={choice}", "teacher.word_dropout=0.5", "optim.lr=1e-12", folder=choice)
        losses.append(json.loads((folder / "summary.json").read_text())["val/loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
