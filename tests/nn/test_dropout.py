"""Dropout: where the masks fall, how often, that they reach the raw weights, and that evaluation knows none of it."""

import pytest
import torch
from tests.conftest import settings
from torch import nn

from throughtime import build
from throughtime.nn import recurrence
from throughtime.nn.cells import Cell, Gru, Lstm
from throughtime.nn.dropout import Locked, Words, rates, slowness

MANY = 20_000


def close_share(mask: torch.Tensor, rate: float) -> None:
    """Within five standard deviations of a binomial share."""
    kept, count = float((mask != 0).double().mean()), mask.numel()
    assert abs(kept - (1 - rate)) < 5 * (rate * (1 - rate) / count) ** 0.5


def test_locked_keeps_one_mask_for_all_steps() -> None:
    outputs = Locked(0.3)(torch.ones(MANY // 10, 7, 10))
    assert torch.equal(outputs, outputs[:, :1].expand_as(outputs))
    close_share(outputs[:, 0], 0.3)
    torch.testing.assert_close(outputs.unique(), torch.tensor([0.0, 1 / 0.7]))


def test_words_go_as_a_whole() -> None:
    tokens = torch.arange(MANY).repeat(2, 1)
    vectors = Words(MANY, 0.2)(tokens, torch.ones(2, MANY, 3))
    assert torch.equal(vectors[0], vectors[1])
    assert torch.equal(vectors, vectors[..., :1].expand_as(vectors))
    close_share(vectors[0, :, 0], 0.2)


@pytest.mark.parametrize("engine", ["loop", "native", "fused"])
@pytest.mark.parametrize("kind", [Lstm, Gru])
def test_dropped_weights_serve_all_steps_and_the_raw_ones_learn(kind: type[Cell], engine: str) -> None:
    cell = kind(3, 50)
    cell.weight_drop, inputs = 0.4, torch.randn(2, 5, 3)
    ((dropped, _),) = cell.dropped_matrices()
    close_share(dropped, 0.4)
    torch.manual_seed(1)
    ((dropped, _),) = cell.dropped_matrices()
    torch.manual_seed(1)
    outputs, _ = recurrence.run(cell, inputs, engine=engine)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), cell.weight_hidden)
    twin = kind(3, 50)
    twin.load_state_dict(cell.state_dict() | {"weight_hidden": dropped.detach()})
    same, _ = recurrence.run(twin, inputs, engine="loop")
    torch.testing.assert_close(outputs, same)
    (inner,) = torch.autograd.grad(same.square().sum(), twin.weight_hidden)
    torch.testing.assert_close(gradient, inner * (dropped != 0) / 0.6)


@pytest.mark.parametrize("choice", ["none", "zaremba", "awd"])
def test_evaluation_knows_no_dropout(choice: str) -> None:
    model = build.model(settings("data=stdlib_docs", "model.hidden=6", f"dropout={choice}"), {"text": 9})
    tokens = torch.randint(0, 9, (2, 5))
    assert torch.equal(model(tokens)[0], model(tokens)[0]) == (choice == "none")
    model.eval()
    assert torch.equal(model(tokens)[0], model(tokens)[0])


def test_penalties_are_the_papers() -> None:
    choice = settings("dropout=awd", "dropout.activation=2", "dropout.temporal=3").dropout
    outputs, dropped = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    squares = sum(float(value) ** 2 for value in dropped.flatten()) / 40
    jumps = [float(outputs[row, time + 1, unit] - outputs[row, time, unit]) for row in range(2) for time in range(3)
             for unit in range(5)]  # fmt: skip
    expected = 2 * squares + 3 * sum(jump**2 for jump in jumps) / 30
    torch.testing.assert_close(slowness(outputs, dropped, choice), torch.tensor(expected))
    assert slowness(outputs, dropped, settings("dropout=zaremba").dropout) == 0


def test_no_rate_is_no_module_in_the_way() -> None:
    assert isinstance(rates(settings("dropout=awd").dropout).module(0.5), Locked)
    assert isinstance(rates(settings("dropout=zaremba").dropout).module(0.5), nn.Dropout)
