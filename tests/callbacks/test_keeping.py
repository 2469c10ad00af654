"""The checkpoints that stay are those of the best and of the last validations."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS

from throughtime.callbacks.progress import Progress
from throughtime.train import checkpoint_files

OFTEN = [*FEW_NUMBERS, "trainer.validate_every=1", "trainer.epochs=2", "trainer.steps=7", "optim.lr=0.3"]


def steps(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("*.ckpt"))


@pytest.mark.parametrize("monitor", ["loss", "chrf"])
def test_the_best_and_the_last_stay(train: Callable[..., Path], monitor: str) -> None:
    keep = ["trainer.keep.best=3", "trainer.keep.last=2", f"trainer.early_stopping.monitor={monitor}"]
    folder = train(*OFTEN, *keep)
    with (folder / "metrics.csv").open() as file:
        found = [row for row in csv.DictReader(file) if row[f"val/{monitor}"]]
    by_step = {int(row["step"]) + 1: float(row[f"val/{monitor}"]) for row in found}
    best = sorted(by_step, key=lambda step: by_step[step] if monitor == "loss" else -by_step[step])[:3]
    kept = steps(folder / "checkpoints" / "best")
    assert sorted(by_step[step] for step in kept) == sorted(by_step[step] for step in best)
    assert len(kept) == 3
    assert steps(folder / "checkpoints" / "last") == [6, 7]
    assert json.loads((folder / "summary.json").read_text())["checkpoints"]["best"].endswith("checkpoints/best.ckpt")


@pytest.mark.parametrize("monitor", ["loss", "chrf"])
def test_a_resumed_run_keeps_what_the_unbroken_one_does(train: Callable[..., Path], monitor: str) -> None:
    keep = ["trainer.keep.best=3", "trainer.keep.last=5", f"trainer.early_stopping.monitor={monitor}"]
    whole = train(*OFTEN, *keep, folder="whole")
    first = train(*OFTEN, *keep, "trainer.steps=4", folder="first")
    resumed = train(*OFTEN, *keep, f"resume={first}", folder="resumed")
    for name in ("best", "last"):
        assert steps(resumed / "checkpoints" / name) == steps(whole / "checkpoints" / name)
    assert steps(resumed / "checkpoints" / "last") == [3, 4, 5, 6, 7]


def test_fewer_are_kept_from_a_resumed_run_on(train: Callable[..., Path]) -> None:
    first = train(*OFTEN, "trainer.keep.last=4", "trainer.steps=5", folder="first")
    resumed = train(*OFTEN, "trainer.keep.last=2", f"resume={first}", folder="resumed")
    assert steps(resumed / "checkpoints" / "last") == [6, 7]
    assert steps(first / "checkpoints" / "last") == [2, 3, 4, 5]


@pytest.mark.parametrize("ending", [["trainer.steps=7"], ["trainer.epochs=1"]])
def test_the_last_step_counts_wherever_it_falls(train: Callable[..., Path], ending: list[str]) -> None:
    few = [*FEW_NUMBERS, "batch.tokens=64", "optim.lr=0.1", "trainer.validate_every=5", "trainer.keep.last=2"]
    folder = train(*few, "trainer.epochs=9", *ending)
    summary = json.loads((folder / "summary.json").read_text())
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert summary["steps"] % 5
    assert steps(folder / "checkpoints" / "last")[-1] == summary["steps"]
    with (folder / "metrics.csv").open() as file:
        losses = {int(row["step"]) + 1: float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]}
    assert summary["objective"] == pytest.approx(min(losses.values())) == pytest.approx(losses[best["global_step"]])


def test_one_of_each_needs_no_folder(train: Callable[..., Path]) -> None:
    folder = train(*OFTEN)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def validations(checkpoint: Path) -> list[dict[str, float]]:
    """Those up to a checkpoint."""
    return torch.load(checkpoint, weights_only=True)["callbacks"]["Progress"]["history"]


def tells_of_its_best(folder: Path) -> dict:
    """The summary, whose objective is that of the checkpoint which was tested."""
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["objective"] == validations(folder / "checkpoints" / "best.ckpt")[-1][summary["monitor"]]
    return summary


@pytest.mark.parametrize("another", [False, True])
def test_the_best_is_looked_for_where_the_run_lies_now(train: Callable[..., Path], another: bool) -> None:
    good = [*OFTEN, "optim.lr=0.03"]
    first = train(*good, "trainer.steps=4", folder="first")
    moved = first.rename(first.with_name("moved"))
    if another:  # now lies where it was
        train(*good, "seed=5", folder="first")
    resumed = train(*OFTEN, "optim.lr=10", f"resume={moved}", folder="resumed")
    tells_of_its_best(resumed)
    assert (resumed / "checkpoints" / "best.ckpt").read_bytes() == (moved / "checkpoints" / "best.ckpt").read_bytes()


def test_what_was_best_only_later_is_not_taken_over(train: Callable[..., Path]) -> None:
    first = train(*OFTEN, "optim.lr=0.03", "trainer.keep.last=9", folder="first")
    start = first / "checkpoints" / "last" / "step-00000002.ckpt"
    assert len(validations(first / "checkpoints" / "best.ckpt")) > 2
    resumed = train(*OFTEN, "optim.lr=10", "trainer.steps=4", f"resume={start}", folder="resumed")
    assert tells_of_its_best(resumed)["objective"] == validations(start)[-1]["val/loss"]
    assert (resumed / "checkpoints" / "best.ckpt").read_bytes() == start.read_bytes()


def test_by_another_metric_the_best_is_sought_anew(train: Callable[..., Path]) -> None:
    first = train(*OFTEN, "optim.lr=0.03", "trainer.steps=4", folder="first")
    other = "trainer.early_stopping.monitor=perplexity"
    assert tells_of_its_best(train(*OFTEN, "optim.lr=10", other, f"resume={first}", folder="resumed"))["steps"] == 7


def test_a_resumed_run_can_be_gone_on_with_from_the_start(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(*OFTEN, "trainer.steps=4", folder="first")

    def die(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(Progress, "on_train_batch_start", die)
    with pytest.raises(RuntimeError, match="killed"):
        train(*OFTEN, f"resume={first}", folder="second")
    last = checkpoint_files.find(str(first.with_name("second")), "", "resume", "last")
    assert last.read_bytes() == (first / "checkpoints" / "last.ckpt").read_bytes()
