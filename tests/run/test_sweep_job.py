"""A job of a sweep, begun, interrupted, and started again."""

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.types import RunMode
from omegaconf import OmegaConf
from tests.conftest import FEW_NUMBERS, TINY

from throughtime import compose
from throughtime.run import sweep, training
from throughtime.run.ranking import ranked
from throughtime.run.sweep_job import sweep_job

Job = Callable[..., float]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Runs a job of the sweep in `sweep`."""

    def start(name: str, *overrides: str) -> float:
        common = [*TINY, *FEW_NUMBERS, f"outputs={tmp_path}/outputs", "trainer.epochs=3", *overrides]
        return sweep_job(
            compose.composed("train", common), tmp_path / "sweep" / name, list(overrides), tmp_path / "sweep"
        )

    return start


def begin(folder: Path, overrides: list[str], epochs: int) -> None:
    """Leaves a job as one that was killed after some epochs."""
    common = [*TINY, *FEW_NUMBERS, f"outputs={folder.parents[1]}/outputs", *overrides, f"trainer.epochs={epochs}"]
    training.run(compose.composed("train", common), folder, overrides)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "state": "running"}))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return found


def test_what_is_done_stays(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = job("0", "seed=2")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").rglob("*")}
    capsys.readouterr()
    assert job("0", "seed=2") == first
    assert capsys.readouterr().out == "job 0: seed=2\njob 0 has been done before\n"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").rglob("*")} == before


def test_what_was_begun_goes_on(job: Job, tmp_path: Path) -> None:
    whole = job("whole", "seed=2")
    begin(tmp_path / "sweep" / "1", ["seed=2"], epochs=1)
    assert job("1", "seed=2") == whole
    expected, found = weights(tmp_path / "sweep" / "whole"), weights(tmp_path / "sweep" / "1")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    resumed = json.loads((tmp_path / "sweep" / "1" / "summary.json").read_text())["resumed_from"]
    assert resumed == f"{tmp_path}/sweep/interrupted/1/0/checkpoints/last.ckpt"
    assert [job["job"] for job in ranked(tmp_path / "sweep")] == ["1", "whole"]


def test_however_often_it_is_interrupted(job: Job, tmp_path: Path) -> None:
    """And if before its first checkpoint, it begins again."""
    folder = tmp_path / "sweep" / "1"
    begin(folder, ["seed=2"], epochs=1)
    (folder / "checkpoints" / "last.ckpt").unlink()
    os.renames(folder, tmp_path / "sweep" / "interrupted" / "1" / "0")
    begin(folder, ["seed=2"], epochs=2)
    os.renames(folder, tmp_path / "sweep" / "interrupted" / "1" / "1")  # and killed before the next run had a folder
    assert job("1", "seed=2") == job("whole", "seed=2")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["resumed_from"].endswith("/interrupted/1/1/checkpoints/last.ckpt")


def test_killed_before_it_could_say_anything(job: Job, tmp_path: Path) -> None:
    (tmp_path / "sweep" / "1").mkdir(parents=True)
    (tmp_path / "sweep" / "1" / "config.yaml").write_text("")
    assert job("1", "seed=2") < float("inf")


def test_a_job_that_still_runs_is_left_alone(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sweep" / "0"
    begin(folder, ["seed=2"], epochs=1)
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert job("0", "seed=2") == float("inf")
    assert "allowed is a folder in which job 0 is not running" in capsys.readouterr().err
    os.close(held)
    assert job("0", "seed=2") < float("inf")


def test_another_job_is_not_taken_for_it(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tmp_path / "sweep" / "0", ["seed=2"], epochs=1)
    capsys.readouterr()
    assert job("0", "seed=3") == float("inf")
    expected = f"job 0 failed: hydra.sweep.dir={tmp_path}/sweep: allowed is the folder of the same sweep, and job 0 was"
    assert capsys.readouterr().err == f"{expected} seed=2 there.\n"
    assert not (tmp_path / "sweep" / "interrupted").exists()


def test_a_sweep_goes_on_if_it_is_the_same_and_not_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def start(*overrides: str) -> sweep.Ranking:
        said = {"mode": RunMode.MULTIRUN, "sweep": {"dir": str(tmp_path)}, "overrides": {"task": list(overrides)}}
        ranking = sweep.Ranking()
        ranking.on_multirun_start(OmegaConf.create({"hydra": {**said, "launcher": {"_target_": "BasicLauncher"}}}))
        return ranking

    first = start("seed=1,2")
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "summary.json").write_text('{"state": "running", "error": null, "overrides": ["seed=1"]}')
    with pytest.raises(SystemExit, match="2"):
        start("seed=1,2")
    assert "allowed is a folder whose sweep is not running" in capsys.readouterr().err
    os.close(first.held)
    with pytest.raises(SystemExit, match="2"):
        start("seed=1,2,3")
    assert "allowed is a folder without a sweep in it, or that of the same" in capsys.readouterr().err
    second = start("seed=1,2")
    with pytest.raises(BlockingIOError):
        fcntl.flock(os.open(tmp_path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(second.held)
