"""Averaged weights are what is evaluated and saved; the optimiser's weights are what trains on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from throughtime.callbacks import averaging

TEXT = ["tbptt.chunk=16", "trainer.validate_every=2", "optim=sgd", "optim.lr=40", "trainer.epochs=2"]
NAME = "model.output.weight"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, Tensor]]:
    """After each step, of however many batches: whether the average had begun, and the optimiser's weights."""
    seen: list[tuple[bool, Tensor]] = []
    update = averaging.Averaging.on_train_batch_end

    def watched(self: averaging.Averaging, trainer: Any, task: Any, *rest: Any) -> None:
        if trainer.global_step > len(seen):
            seen.append((self.begun, dict(task.named_parameters())[NAME].detach().clone()))
        update(self, trainer, task, *rest)

    monkeypatch.setattr(averaging.Averaging, "on_train_batch_end", watched)
    return seen


def saved(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("batches", [1, 2])
def test_the_mean_begins_when_the_loss_stops_falling(
    train: Callable[..., Path], story: Path, steps: list[tuple[bool, Tensor]], batches: int
) -> None:
    chosen = ["averaging=nonmonotone", "averaging.patience=1", f"trainer.accumulate={batches}", "schedule=constant"]
    folder = train("data=text", f"data.path={story}", *TEXT, *chosen)
    averaged = [weight for begun, weight in steps if begun]
    assert 0 < len(averaged) < len(steps)
    checkpoint = saved(folder)
    torch.testing.assert_close(checkpoint["state_dict"][NAME], torch.stack(averaged).mean(0))
    torch.testing.assert_close(checkpoint["current_model_state"][NAME], steps[-1][1])


def test_ema_follows_its_recurrence(train: Callable[..., Path], story: Path, steps: list[tuple[bool, Tensor]]) -> None:
    folder = train("data=text", f"data.path={story}", *TEXT, "averaging=ema", "averaging.decay=0.8")
    mean = steps[0][1]
    for _, weight in steps[1:]:
        mean = 0.8 * mean + 0.2 * weight
    torch.testing.assert_close(saved(folder)["state_dict"][NAME], mean)


def test_an_average_without_memory_changes_nothing(train: Callable[..., Path], story: Path) -> None:
    summaries = []
    for name, choice in (("plain", ["averaging=none"]), ("ema", ["averaging=ema", "averaging.decay=0"])):
        folder = train("data=text", f"data.path={story}", *TEXT, *choice, folder=name)
        summaries.append(json.loads((folder / "summary.json").read_text()))
    assert summaries[0]["val/loss"] == summaries[1]["val/loss"]
    assert summaries[0]["test/loss"] == summaries[1]["test/loss"]


@pytest.mark.parametrize("choice", [["averaging=ema"], ["averaging=nonmonotone", "averaging.patience=1"]])
def test_a_resumed_run_goes_on_averaging(train: Callable[..., Path], story: Path, choice: list[str]) -> None:
    text = ["data=text", f"data.path={story}", *TEXT, *choice]
    whole = saved(train(*text, folder="whole"))
    first = train(*text, "trainer.epochs=1", folder="first")
    resumed = saved(train(*text, f"resume={first}", folder="resumed"))
    for key in ("state_dict", "current_model_state"):
        assert torch.equal(whole[key][NAME], resumed[key][NAME])


@pytest.mark.parametrize("choice", ["none", "nonmonotone"])
def test_another_averaging_goes_on_from_the_optimisers_weights(
    train: Callable[..., Path], story: Path, choice: str
) -> None:
    """As a run goes on that never averaged: the mean is of no training, and Adam's moments are those of other weights."""
    text = ["data=text", f"data.path={story}", *TEXT]
    plain, averaged = (
        train(*text, "trainer.epochs=1", f"averaging={first}", folder=first) for first in ("none", "ema")
    )
    on = [*text, f"averaging={choice}"]
    resumed = [saved(train(*on, f"resume={first}", folder=f"after-{first.name}")) for first in (plain, averaged)]
    assert torch.equal(resumed[0]["state_dict"][NAME], resumed[1]["state_dict"][NAME])
