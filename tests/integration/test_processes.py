"""The programs in processes of their own: train, decode, sweep, two ranks, W&B offline."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import FEW_NUMBERS, TINY

Program = Callable[..., subprocess.CompletedProcess[str]]


def test_the_printed_decode_line_works(program: Program, tmp_path: Path) -> None:
    done = program("train.py", *TINY, *FEW_NUMBERS, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("decode ")).removeprefix("decode").strip()
    decoded = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert decoded.returncode == 0, decoded.stderr
    assert len(decoded.stdout.splitlines()) == 1


def test_two_processes_train_one_model(program: Program, tmp_path: Path) -> None:
    done = program(
        "train.py",
        *TINY,
        *FEW_NUMBERS,
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.epochs=2",
        "hydra.run.dir=run",
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["state"] == "done"
    assert summary["epochs"] == 2


def offline_runs(folder: Path) -> list[dict]:
    """What W&B itself reads back of the offline runs under a folder."""
    files = sorted(folder.rglob("run-*.wandb"))
    tool = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
    return [
        json.loads(subprocess.run([*tool, str(file)], capture_output=True, text=True, check=True).stdout)
        for file in files
    ]


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_ranks_its_jobs_and_survives_a_failure(program: Program, tmp_path: Path, launcher: str) -> None:
    broken = tmp_path / "sweep" / "1"
    broken.mkdir(parents=True)
    (broken / "checkpoints").write_text("a file where a folder must go")
    done = program(
        "train.py", "-m", *TINY, *FEW_NUMBERS, "tracking=wandb", "cell=rnn,gru", "tbptt.chunk=4,8",
        "hydra.sweep.dir=sweep", f"hydra/launcher={launcher}",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    jobs = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["jobs"]
    assert [job["rank"] for job in jobs] == [1, 2, 3, None]
    assert jobs[-1]["job"] == 1
    assert jobs[-1]["state"] == "failed"
    assert [job["objective"] for job in jobs[:3]] == sorted(job["objective"] for job in jobs[:3])
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["cell"], row["tbptt.chunk"]) for row in rows} == {
        ("rnn", "4"),
        ("rnn", "8"),
        ("gru", "4"),
        ("gru", "8"),
    }
    runs = list((tmp_path / "sweep").rglob("run-*.wandb"))
    assert len({run.name for run in runs}) == 4
