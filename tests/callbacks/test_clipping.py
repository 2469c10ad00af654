"""Clipping is torch's, and what is logged is of the gradients before it."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.elsewhere import Device
from torch import nn
from torch.optim import SGD

from throughtime import config
from throughtime.callbacks.gradients import Clipping


class Told:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[dict[str, float]] = []

    def log_metrics(self, record: dict[str, float], step: int) -> None:
        self.records.append(record)


def model(scale: float) -> nn.Module:
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(5, 5))  # nothing comes to the last one
    (scale * built[:2](torch.randn(7, 3)).square().sum()).backward()
    return built


def norm(built: nn.Module) -> float:
    return float(torch.cat([weight.grad.flatten() for weight in built.parameters() if weight.grad is not None]).norm())


@pytest.mark.parametrize("clip", [config.Clip(1.0, None), config.Clip(None, 0.5), config.Clip(None, None)])
def test_each_step_is_clipped_and_some_are_told(clip: config.Clip) -> None:
    callback, logger = Clipping(clip, every=2), Told()
    for step, scale in enumerate((1e-3, 10.0)):
        ours = model(scale)
        theirs = deepcopy(ours)
        for weight, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = None if weight.grad is None else weight.grad.clone()
        trainer: Any = SimpleNamespace(global_step=step, loggers=[logger])
        callback.on_before_optimizer_step(trainer, ours, SGD(ours.parameters(), lr=0.5 + step))  # type: ignore[arg-type]
        if clip.norm is not None:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip.norm)
        if clip.value is not None:
            nn.utils.clip_grad_value_(theirs.parameters(), clip.value)
        for weight, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (weight.grad is None and other.grad is None) or torch.equal(weight.grad, other.grad)
    (record,) = logger.records
    assert record["gradients/total"] == pytest.approx(norm(model(10.0)))
    assert record["train/lr"] == 1.5
    assert record["gradients/clipped"] == (0.0 if clip == config.Clip(None, None) else 0.5)


@pytest.mark.parametrize("clip", [config.Clip(1.0, None), config.Clip(None, 0.5), config.Clip(None, None)])
def test_nobody_waits_for_the_device_to_clip(device: Device, clip: config.Clip) -> None:
    built = nn.Linear(3, 4).to("meta")
    built(torch.randn(7, 3).to("meta")).square().sum().backward()
    device.waits.clear()
    Clipping(clip, every=2).on_before_optimizer_step(SimpleNamespace(global_step=0), built, None)
    assert not device.waits
