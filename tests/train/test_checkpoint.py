"""Averaged checkpoints: the mean of one run's weights, found by folder or pattern, and of one run only."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS

from throughtime import config
from throughtime.train import checkpoint, checkpoint_files, checkpoint_mean

KEEP = [*FEW_NUMBERS, "trainer.validate_every=1", "trainer.keep.last=3"]


def contents(paths: list[Path]) -> list[dict]:
    return [checkpoint.read(path, "checkpoint") for path in paths]


def test_the_mean_of_a_run(train: Callable[..., Path]) -> None:
    folder = train(*KEEP) / "checkpoints"
    paths = checkpoint_files.find_all(f"{folder}/last", "outputs", "checkpoint")
    assert len(paths) == 3
    assert paths == checkpoint_files.find_all(f"{folder}/last/step-*.ckpt", "outputs", "checkpoint")
    found = contents(paths)
    mean = checkpoint_mean.average(found, "checkpoint")
    for name, weight in mean["state_dict"].items():
        torch.testing.assert_close(weight, sum(content["state_dict"][name] for content in found) / 3)
    assert mean["throughtime"] == found[-1]["throughtime"]
    alike = checkpoint_mean.average([found[0]] * 4, "checkpoint")
    assert all(torch.equal(weight, found[0]["state_dict"][name]) for name, weight in alike["state_dict"].items())


def test_a_pattern_of_folders_means_their_best(train: Callable[..., Path], tmp_path: Path) -> None:
    folders = [train(*FEW_NUMBERS, folder=f"run-{name}") for name in ("a", "b")]
    found = checkpoint_files.find_all(f"{tmp_path}/run-*", "outputs", "checkpoint")
    assert found == [folder / "checkpoints" / "best.ckpt" for folder in folders]


def test_one_checkpoint_is_found_as_ever(train: Callable[..., Path]) -> None:
    folder = train(*KEEP)
    assert checkpoint_files.find_all(str(folder), "outputs", "checkpoint") == [folder / "checkpoints" / "best.ckpt"]
    assert checkpoint_files.find_all(str(folder / "checkpoints" / "last.ckpt"), "outputs", "checkpoint") == [
        folder / "checkpoints" / "last.ckpt"
    ]


@pytest.mark.parametrize("other", ["seed=2", "model.hidden=4", "cell=cho_gru"])
def test_weights_of_different_runs_have_no_mean(train: Callable[..., Path], other: str) -> None:
    folders = [train(*FEW_NUMBERS, "cell=gru", *more, folder=name) for name, more in (("a", []), ("b", [other]))]
    found = contents([folder / "checkpoints" / "last.ckpt" for folder in folders])
    with pytest.raises(config.Mistake, match="checkpoint=2 checkpoints: allowed is such of one run"):
        checkpoint_mean.average(found, "checkpoint")


def test_a_sweeps_checkpoint_is_that_of_its_best_job(tmp_path: Path) -> None:
    for job in ("0", "1"):
        (tmp_path / job / "checkpoints").mkdir(parents=True)
        (tmp_path / job / "checkpoints" / "best.ckpt").touch()
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": [{"job": "1"}, {"job": "0"}]}))
    assert checkpoint_files.find(str(tmp_path), "outputs", "checkpoint") == tmp_path / "1" / "checkpoints" / "best.ckpt"
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": []}))
    with pytest.raises(config.Mistake, match="allowed is a checkpoint file, the folder of a run or a sweep"):
        checkpoint_files.find(str(tmp_path), "outputs", "checkpoint")
