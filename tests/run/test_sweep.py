"""The ranking of a sweep's jobs."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from throughtime.run import ranking, sweep
from throughtime.train.flow import Flow, append


def leave(folder: Path, job: int | str, monitor: str, objective: float, state: str = "done", **choices: Any) -> None:
    """A job's summary as a run leaves it."""
    facts: dict[str, Any] = {
        "state": state,
        "error": None if state == "done" else "a mistake.",
        "overrides": [f"{name}={value}" for name, value in (choices or {"seed": job}).items()],
    }
    if state == "done":
        facts |= {"monitor": monitor, "objective": objective, monitor: objective}
    (folder / str(job)).mkdir(parents=True)
    (folder / str(job) / "summary.json").write_text(json.dumps(facts))


def test_each_metric_is_ranked_by_itself_in_its_own_direction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for job, (monitor, objective) in enumerate([("loss", 3.0), ("bleu", 10.0), ("loss", 2.0), ("bleu", 30.0)]):
        leave(tmp_path, job, monitor, objective)
    leave(tmp_path, 4, "loss", 0.0, state="failed")
    found = ranking.ranked(tmp_path)
    assert [(job["job"], job["rank"]) for job in found] == [("3", 1), ("1", 2), ("2", 1), ("0", 2), ("4", None)]
    sweep.show(tmp_path, found)
    told = capsys.readouterr().out
    assert "5 jobs by bleu and loss" in told
    assert "bleu 30" in told and "loss 2" in told and "failed: a mistake." in told


def test_a_sweep_that_is_broken_off_is_ranked_up_to_there(tmp_path: Path) -> None:
    settings = OmegaConf.create(
        {
            "hydra": {
                "launcher": {"_target_": "BasicLauncher"},
                "mode": RunMode.MULTIRUN,
                "sweep": {"dir": str(tmp_path)},
            }
        }
    )
    for job, loss in enumerate([3.0, 2.0]):
        leave(tmp_path, job, "loss", loss)
        sweep.Ranking().on_job_end(settings, None)
        assert len(json.loads((tmp_path / "sweep.json").read_text())["jobs"]) == job + 1
    assert (tmp_path / "sweep.csv").read_text().splitlines()[1].startswith("1,1,done,1,2.0,loss")


def test_jobs_that_differ_in_their_seed_alone_are_ranked_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {"rnn": (50.0, 52.0, 57.0), "gru": (54.0, 55.0, 56.0), "lstm": (60.0,)}
    runs = [(cell, seed, score) for cell, found in scores.items() for seed, score in enumerate(found)]
    for job, (cell, seed, score) in enumerate(runs):
        leave(tmp_path, job, "test/bleu", score, seed=seed, cell=cell)
    leave(tmp_path, len(runs), "test/bleu", 0.0, state="failed", seed=1, cell="lstm")
    jobs = ranking.ranked(tmp_path)
    sweep.write(tmp_path, jobs, None)
    rows = list(csv.DictReader((tmp_path / "seeds.csv").open()))
    assert [(row["rank"], row["jobs"], row["cell"]) for row in rows] == [
        ("1", "1", "lstm"), ("2", "3", "gru"), ("3", "3", "rnn"),
    ]  # fmt: skip
    assert [float(row["test/bleu"]) for row in rows] == [60, 55, 53]
    deviations = [row["test/bleu deviation"] for row in rows]
    assert deviations[:2] == ["", "1.0"] and math.isclose(float(deviations[2]), math.sqrt((9 + 1 + 16) / 2))
    sweep.show(tmp_path, jobs)
    told = capsys.readouterr().out
    assert all(f"{score:.4g}" in told for found in scores.values() for score in found)
    assert "over seeds by test/bleu" in told and f"seeds      {tmp_path}/seeds.csv" in told


def test_a_diverged_metric_deviates_by_no_number(tmp_path: Path) -> None:
    for job, score in enumerate((math.nan, 2.0)):
        leave(tmp_path, job, "loss", score, **{"++seed": job})
    (found,) = ranking.over_seeds(ranking.ranked(tmp_path))
    assert found["jobs"] == 2 and math.isnan(found["objective"]) and math.isnan(found["objective deviation"])


def test_what_all_jobs_share_is_left_out_of_both_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for job in range(2):
        leave(tmp_path, job, "loss", float(job), seed=job, cell="gru")
    sweep.show(tmp_path, ranking.ranked(tmp_path))
    assert "cell=gru" not in capsys.readouterr().out


def test_without_such_jobs_nothing_is_said_of_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for job, cell in enumerate(("rnn", "gru")):
        leave(tmp_path, job, "loss", float(job), seed=job, cell=cell)
    jobs = ranking.ranked(tmp_path)
    sweep.write(tmp_path, jobs, None)
    sweep.show(tmp_path, jobs)
    assert not (tmp_path / "seeds.csv").exists() and "seeds" not in capsys.readouterr().out


def test_jobs_may_have_any_folders(tmp_path: Path) -> None:
    for job, loss in (("gru/2", 3.0), ("cell=rnn,seed=1", 2.0), ("10", 5.0), ("9", 6.0)):
        leave(tmp_path, job, "loss", loss)
    (tmp_path / "11").mkdir()  # was killed before it could say anything
    found = ranking.ranked(tmp_path)
    assert [job["job"] for job in found] == ["cell=rnn,seed=1", "gru/2", "10", "9", "11"]
    assert found[-1]["state"] == "lost"


def test_a_sweep_of_which_nothing_is_left_has_failed(tmp_path: Path) -> None:
    settings = OmegaConf.create(
        {
            "hydra": {
                "launcher": {"_target_": "BasicLauncher"},
                "mode": RunMode.MULTIRUN,
                "sweep": {"dir": str(tmp_path)},
            }
        }
    )
    with pytest.raises(SystemExit, match="1"):
        sweep.Ranking().on_multirun_end(settings)


def test_the_best_jobs_gradients_are_drawn_by_what_sets_them_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[Flow]] = {}
    monkeypatch.setattr("throughtime.train.flow_picture.draw", lambda path, flows: drawn.update(flows))
    for job in range(14):
        leave(tmp_path, job, "loss", float(job), state="failed" if job == 1 else "done")
        if job != 2:  # flow.rows=0
            append(tmp_path / str(job) / "gradient_flow.jsonl", {"epoch": 0, "step": 5}, [Flow("a", "h", [float(job)])])
    sweep.draw(tmp_path, ranking.ranked(tmp_path))
    assert drawn == {f"seed={job}": [Flow("a", "h", [float(job)])] for job in (0, *range(3, 12))}


def test_a_single_run_is_no_sweep(tmp_path: Path) -> None:
    sweep.Ranking().on_job_end(
        OmegaConf.create(
            {"hydra": {"launcher": {"_target_": "BasicLauncher"}, "mode": RunMode.RUN, "sweep": {"dir": str(tmp_path)}}}
        ),
        None,
    )
    assert not list(tmp_path.iterdir())
