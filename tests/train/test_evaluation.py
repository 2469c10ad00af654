"""The cache equals its equations place by place; dynamic evaluation equals its recurrence and leaves no trace."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.elsewhere import Device
from torch import nn

from throughtime import config
from throughtime.data.batch import IGNORED
from throughtime.train.evaluation import Dynamic, cached_loss, empty_cache

B, T, W, V = 2, 9, 3, 4


def by_hand(
    logits: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor, choice: config.CacheEvaluation
) -> float:
    """The summed loss, place by place."""
    total = 0.0
    for row in range(B):
        for t in range(T):
            target = int(targets[row, t])
            if target == IGNORED:
                continue
            model = float(torch.softmax(logits[row, t], -1)[target])
            places = [i for i in range(max(0, t - choice.size), t) if int(targets[row, i]) != IGNORED]
            weights = {i: math.exp(choice.theta * float(outputs[row, t] @ outputs[row, i])) for i in places}
            found = sum(weight for i, weight in weights.items() if int(targets[row, i]) == target)
            share = choice.share if places else 0.0
            total -= math.log((1 - share) * model + share * (found / sum(weights.values()) if places else 0.0))
    return total


@pytest.mark.parametrize("chunk", [1, 4, 9])
@pytest.mark.parametrize("size", [3, 100])
def test_cache_is_its_equations_in_any_chunks(chunk: int, size: int) -> None:
    choice = config.CacheEvaluation("cache", size, 0.7, 0.3)
    logits, outputs, targets = torch.randn(B, T, V), torch.randn(B, T, W), torch.randint(0, V, (B, T))
    targets[1, 5] = IGNORED
    cache, total, count = empty_cache(outputs), 0.0, 0
    for start in range(0, T, chunk):
        part = slice(start, start + chunk)
        loss, counted, cache = cached_loss(logits[:, part], outputs[:, part], targets[:, part], cache, choice)
        total, count = total + float(loss), count + int(counted)
    assert count == B * T - 1
    assert total == pytest.approx(by_hand(logits, outputs, targets, choice), rel=1e-5)


def test_both_ways_work_on_another_device(device: Device) -> None:
    choice, model = config.CacheEvaluation("cache", 5, 0.7, 0.3), nn.Linear(W, V)
    outputs, targets = torch.randn(B, T, W), torch.randint(0, V, (B, T))
    totals, weights = [], []
    for place in ("cpu", "meta"):
        there, read, next_tokens = copy.deepcopy(model).to(place), outputs.to(place), targets.to(place)
        dynamic = Dynamic(there, config.DynamicEvaluation("dynamic", 0.1, 0.25))
        for _ in range(2):
            loss, count, _ = cached_loss(there(read), read, next_tokens, empty_cache(read), choice)
            dynamic.learn(loss, count)
        totals.append(loss.item())
        weights.append(there.weight.detach().cpu())
    assert totals[0] == pytest.approx(totals[1])
    torch.testing.assert_close(*weights)


def test_the_improbable_costs_what_it_costs() -> None:
    """Where a probability is too small for a number, as is that of the token that stands in for an ignored one."""
    logits = torch.zeros(1, 2, V)
    logits[0, 0, 1] = logits[0, 1, 0] = -200.0
    choice, outputs = config.CacheEvaluation("cache", 5, 0.7, 0.3), torch.randn(1, 2, W)
    loss, count, _ = cached_loss(logits, outputs, torch.tensor([[1, IGNORED]]), empty_cache(outputs), choice)
    assert (float(loss), int(count)) == (pytest.approx(200 + math.log(V - 1)), 1)


def test_dynamic_steps_are_the_papers_and_are_undone() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    dynamic, weight = Dynamic(model, config.DynamicEvaluation("dynamic", 0.1, 0.25)), 2.0
    for target in (1.0, -3.0, 0.5):
        dynamic.learn(3 * (model(torch.ones(1, 1)) - target).square().sum(), torch.tensor(3))
        weight += 0.25 * (2.0 - weight) - 0.1 * 2 * (weight - target)
        assert model.weight.item() == pytest.approx(weight)
    dynamic.restore()
    assert model.weight.item() == 2.0


def test_a_repetitive_text_is_better_foreseen(train: Callable[..., Path], story: Path) -> None:
    losses = {}
    for choice in ("static", "cache", "dynamic"):
        folder = train("data=text", f"data.path={story}", "data.test_share=0.6", f"evaluation={choice}", folder=choice)
        losses[choice] = json.loads((folder / "summary.json").read_text())
    assert losses["cache"]["val/loss"] == losses["dynamic"]["val/loss"] == losses["static"]["val/loss"]
    assert losses["cache"]["test/loss"] != losses["static"]["test/loss"]
    assert losses["dynamic"]["test/loss"] < losses["static"]["test/loss"]


def test_a_chunk_as_long_as_the_text_teaches_too_late(train: Callable[..., Path], story: Path) -> None:
    common, tests = ["data=text", f"data.path={story}"], []
    for name, choice in (
        ("static", []),
        ("late", ["evaluation=dynamic", "evaluation.chunk=5000"]),
        ("soon", ["evaluation=dynamic", "evaluation.chunk=5"]),
    ):
        folder = train(*common, *choice, folder=name)
        tests.append(json.loads((folder / "summary.json").read_text())["test/loss"])
    assert tests[1] == pytest.approx(tests[0], rel=1e-6) and tests[2] < tests[0] - 1e-3


def test_nothing_learned_is_nothing_changed(train: Callable[..., Path], story: Path) -> None:
    tests = []
    for name, choice in (
        ("static", ["evaluation=static"]),
        ("cache", ["evaluation=cache", "evaluation.share=0"]),
        ("dynamic", ["evaluation=dynamic", "evaluation.lr=1e-12", "evaluation.decay=0"]),
    ):
        folder = train("data=text", f"data.path={story}", *choice, folder=name)
        tests.append(json.loads((folder / "summary.json").read_text())["test/loss"])
    assert tests[1] == pytest.approx(tests[0], rel=1e-5)
    assert tests[2] == pytest.approx(tests[0], rel=1e-5)
