"""The programs in processes of their own: train, decode, sweep, two ranks, W&B offline."""

import csv
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tests.conftest import FEW_NUMBERS, OF_TEXT, ROOT, TINY, settings
from tests.integration.offline import offline_run

from throughtime.build import parts
from throughtime.data.batch import IGNORED, PairBatch
from throughtime.data.pairs import PairLoader, open_pairs
from throughtime.data.prepare import prepare

Program = Callable[..., subprocess.CompletedProcess[str]]


def test_the_printed_decode_line_works(program: Program, tmp_path: Path) -> None:
    done = program("train.py", *TINY, *FEW_NUMBERS, "hydra.run.dir=run")
    assert done.returncode == 0
    assert not done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("decode ")).removeprefix("decode").strip()
    decoded = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert decoded.returncode == 0
    assert not decoded.stderr
    assert len(decoded.stdout.splitlines()) == 1


@pytest.mark.parametrize("model", ["encoder_decoder", "prefix_lm"])
def test_decoding_begins_without_what_only_training_needs(program: Program, tmp_path: Path, model: str) -> None:
    """Nor is anything compiled for a job that may be over before."""
    own = [f"model={model}", "tokenizer.joint=true", "cell=minimal_gru", "hydra.run.dir=run"]
    done = program("train.py", *TINY, *FEW_NUMBERS, *own)
    assert done.returncode == 0
    line = [sys.executable, "-X", "importtime", str(ROOT / "decode.py"), "checkpoint=run"]
    text = f"{'one hundred and twenty-three thousand ' * 20}\n" * 64
    decoded = subprocess.run(line, input=text, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert decoded.returncode == 0 and len(decoded.stdout.splitlines()) == 64
    imported = {row.rpartition("|")[2].strip() for row in decoded.stderr.splitlines()}
    assert "torch" in imported
    assert not imported & {"lightning", "datasets", "wandb", "torch._inductor.compile_fx"}


def test_a_resumed_run_says_nothing_needless(program: Program, story: Path) -> None:
    common = ["train.py", *TINY, *OF_TEXT, "data=text", f"data.path={story}", "tbptt.chunk=16", "log_every=1000"]
    for own in (["hydra.run.dir=half"], ["hydra.run.dir=whole", "resume=half", "trainer.epochs=2"]):
        done = program(*common, *own)
        assert done.returncode == 0
        assert not done.stderr


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
    assert done.returncode == 0
    assert not done.stderr
    assert str(ROOT / "decode.py") in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["state"] == "done"
    assert summary["epochs"] == 2
    assert (
        2 * summary["data"]["splits"]["train"]["target_tokens"] == summary["train_tokens"] - 2 * 60
    )  # each with its eos


TOGETHER = {
    "fixed": ["tbptt.chunk=16"],
    "jittered": ["tbptt=jittered", "tbptt.chunk=12", "batch.offset=true", "trainer.accumulate=2"],
    "windows": ["tbptt=windows", "tbptt.stride=12", "tbptt.window=30", "model.learned_state=true", "trainer.epochs=2"],
    "checkpointed": ["tbptt=checkpointed", "batch.offset=true", "trainer.epochs=21"],
}


@pytest.mark.parametrize("option", TOGETHER)
def test_two_processes_equal_one_with_twice_the_columns(
    program: Program, tmp_path: Path, story: Path, option: str
) -> None:
    exact = ["trainer.precision=64-true", "optim=sgd", "optim.lr=0.5", "batch.restarts=0", *TOGETHER[option]]
    alone, shared = ["batch.columns=4"], ["batch.columns=2", "trainer=ddp", "trainer.accelerator=cpu"]
    weights = {}
    for name, places in (("alone", alone), ("shared", shared)):
        done = program(
            "train.py", *TINY, *OF_TEXT, "data=text", f"data.path={story}", *places, *exact, f"hydra.run.dir={name}"
        )
        assert done.returncode == 0, done.stderr
        checkpoint = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        assert checkpoint["global_step"] > 20
        weights[name] = {key: value for key, value in checkpoint["state_dict"].items() if key.startswith("model.")}
    for key, weight in weights["alone"].items():
        torch.testing.assert_close(weights["shared"][key], weight, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("evaluation", ["static", "cache", "dynamic"])
def test_two_processes_test_as_one_with_twice_the_columns(
    program: Program, tmp_path: Path, story: Path, evaluation: str
) -> None:
    mixed = tmp_path / "mixed.txt"  # or all columns were alike
    mixed.write_text(" ".join(random.Random(3).choices(story.read_text().split(), k=300)))
    common = [*TINY, *OF_TEXT, "data=text", f"data.path={story}", f"data.test_path={mixed}", f"evaluation={evaluation}"]
    common += [
        "trainer.precision=64-true",
        "optim=sgd",
        "optim.lr=0.5",
        "batch.restarts=0",
        "trainer.steps=8",
        "tbptt.chunk=16",
    ]
    alone, shared = ["batch.columns=4"], ["batch.columns=2", "trainer=ddp", "trainer.accelerator=cpu"]
    losses = []
    for name, places in (("alone", alone), ("shared", shared)):
        done = program("train.py", *common, *places, f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stderr
        losses.append(json.loads((tmp_path / name / "summary.json").read_text())["test/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_two_processes_share_the_pairs_of_each_step(program: Program, tmp_path: Path) -> None:
    """Against the same steps by hand: both ranks' batches, the loss over all their tokens, clipped, plain descent."""
    common = [*TINY, *FEW_NUMBERS, "trainer=ddp", "trainer.accelerator=cpu", "trainer.epochs=3", "batch.tokens=512"]
    common += ["trainer.precision=64-true", "optim=sgd", "optim.lr=0.5", "tbptt=off", f"outputs={tmp_path}/outputs"]
    done = program("train.py", *common, "hydra.run.dir=shared")
    assert done.returncode == 0, done.stderr
    asked = settings(*common)
    prepared = prepare(asked.data, asked.tokenizer, tmp_path / "outputs" / "cache")
    model = parts.task(asked, prepared).model.double()
    pairs = open_pairs(prepared.folder / "train")
    ranks = [PairLoader(pairs, 512, asked.batch.longest, asked.seed, rank, world=2) for rank in (0, 1)]
    steps, uneven = 0, False
    for _ in range(3):
        for batches in zip(*ranks, strict=True):
            losses, counts = zip(*(summed_loss(model, batch) for batch in batches), strict=True)
            uneven |= counts[0] != counts[1]
            gradients = torch.autograd.grad(sum(losses) / sum(counts), list(model.parameters()))
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            with torch.no_grad():
                for weight, gradient in zip(model.parameters(), gradients, strict=True):
                    weight -= 0.5 * gradient * min(1.0, 1.0 / (norm + 1e-6))
            steps += 1
    assert uneven  # or a mean of both ranks' means would do as well
    checkpoint = torch.load(tmp_path / "shared" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == steps
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(checkpoint["state_dict"][f"model.{name}"], weight, rtol=1e-5, atol=1e-7)
    whole = PairLoader(open_pairs(prepared.folder / "validation"), 512)
    losses, counts = zip(*(summed_loss(model, batch) for batch in whole), strict=True)
    with (tmp_path / "shared" / "metrics.csv").open() as file:
        told = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert told[-1] == pytest.approx(float(sum(losses).detach()) / sum(counts), rel=1e-5)


def summed_loss(model: torch.nn.Module, batch: PairBatch) -> tuple[torch.Tensor, int]:
    logits = model(batch.source, batch.source_lengths, batch.tokens)
    counted = batch.targets != IGNORED
    chosen = torch.log_softmax(logits, dim=-1)[counted].gather(1, batch.targets[counted][:, None])
    return -chosen.sum(), int(counted.sum())


def test_a_killed_process_of_a_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what another process of the run makes of it."""
    few = [*FEW_NUMBERS, "data.train=400", "batch.tokens=64", "trainer.epochs=1000", "trainer.validate_every=10"]
    line = [sys.executable, str(ROOT / "train.py"), *TINY, *few, "trainer.devices=2", "hydra.run.dir=run"]
    run = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.1)
    workers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, told = run.communicate()
    sentence = f"A process of {tmp_path}/run was killed, maybe for want of memory; resume={tmp_path}/run continues it."
    assert run.returncode == 2
    assert told.strip().splitlines()[-1] == f"error: {sentence}"
    assert "Traceback" not in told
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["error"] == sentence


def test_a_task_of_a_cluster_is_a_run_of_its_own(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And records, even if it is not the first of its job's tasks."""
    tasks = {
        "NTASKS": 2,
        "NTASKS_PER_NODE": 2,
        "PROCID": 1,
        "LOCALID": 1,
        "NODEID": 0,
        "JOB_ID": 7,
        "JOB_NAME": "train",
    }
    for name, value in {**tasks, "NODELIST": "localhost", "JOB_NODELIST": "localhost"}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    done = program("train.py", *TINY, *FEW_NUMBERS, "trainer.devices=1", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert "val/loss" in (tmp_path / "run" / "metrics.csv").read_text()


def check_offline_runs(sweep: Path) -> None:
    """Each job has a run of its own, with its settings, metrics and samples, and the exit code of its end."""
    jobs = {job["job"]: job for job in json.loads((sweep / "sweep.json").read_text())["jobs"]}
    runs = {job: [offline_run(file) for file in (sweep / job).rglob("run-*.wandb")] for job in jobs}
    assert [len(found) for found in runs.values()] == [1] * len(jobs)
    assert len({found[0].facts["run_id"] for found in runs.values()}) == len(jobs)
    for job, (run,) in runs.items():
        settings = yaml.safe_load((sweep / job / "config.yaml").read_text())
        assert run.facts["config"]["update"] == {**settings, "_wandb": {}}
        assert run.facts["run_group"] == sweep.name
        assert run.exit_code == (jobs[job]["state"] != "done")
        told = {name: value for row in run.history for name, value in row.items()}
        assert {"gradients/total", "gradients/clipped", "gradients/output", "train/loss", "val/loss"} <= set(told)
        assert all("trainer/global_step" in row for row in run.history)
        assert run.over["*"] == "trainer/global_step"
        if jobs[job]["state"] == "done":
            assert run.summary["objective"] == pytest.approx(jobs[job]["objective"])
            assert told["val/loss"] == pytest.approx(jobs[job]["val/loss"])
        lines = (sweep / job / "samples" / "epoch=000.jsonl").read_text().splitlines()
        best = [json.loads(line)["hypotheses"][0]["text"] for line in lines]
        assert [row[run.samples["columns"].index("text")] for row in run.samples["data"]] == best


def test_a_sweep_is_called_by_its_folder_and_a_job_by_its_own(program: Program, tmp_path: Path) -> None:
    places = ["hydra.sweep.dir=aside/../sweep", "hydra.sweep.subdir=seed_${seed}/run"]
    command = ["train.py", "-m", *TINY, *FEW_NUMBERS, "trainer.steps=1", "seed=1,2", *places]
    done = program(*command)
    assert done.returncode == 0, done.stderr
    again = program(*command)
    assert again.returncode == 0 and again.stdout.count("has been done before") == 2
    for job in ("seed_1/run", "seed_2/run"):
        named = yaml.safe_load((tmp_path / "sweep" / job / "config.yaml").read_text())["run"]
        assert named["group"] == "sweep"
        assert named["name"].endswith(f"-{job.replace('/', '-')}")


@pytest.mark.parametrize("ending", ["a kill", "Ctrl-C"])
def test_the_jobs_of_a_sweep_end_with_it_and_save(tmp_path: Path, ending: str) -> None:
    """Though they run in processes of their own, which a kill of the sweep's does not reach, and a Ctrl-C does."""
    jobs = ["-m", *TINY, *FEW_NUMBERS, "seed=1,2", "trainer.epochs=100000", "hydra.sweep.dir=sweep"]
    apart = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    line = [sys.executable, str(ROOT / "train.py"), *jobs, *apart]
    started = subprocess.Popen(line, cwd=tmp_path, start_new_session=True)
    saved = [tmp_path / "sweep" / job / "checkpoints" / "last.ckpt" for job in "01"]
    wait_until(lambda: all(path.exists() for path in saved))
    if ending == "Ctrl-C":
        os.killpg(started.pid, signal.SIGINT)
    else:
        started.kill()
    started.wait()
    places = [os.open(tmp_path / "sweep" / job, os.O_RDONLY) for job in "01"]
    wait_until(lambda: all(map(is_free, places)))
    states = [json.loads((path.parents[1] / "summary.json").read_text())["state"] for path in saved]
    assert states == ["stopped", "stopped"]


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def is_free(place: int) -> bool:
    """Whether no job runs in a folder."""
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
    assert jobs[-1]["job"] == "1"
    assert jobs[-1]["state"] == "failed"
    told = f"{tmp_path}/sweep/1/checkpoints can't be used: File exists."
    assert jobs[-1]["error"] == told
    assert done.stderr == f"job 1 failed: {told}\n"
    assert [job["objective"] for job in jobs[:3]] == sorted(job["objective"] for job in jobs[:3])
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["cell"], row["tbptt.chunk"]) for row in rows} == {
        ("rnn", "4"),
        ("rnn", "8"),
        ("gru", "4"),
        ("gru", "8"),
    }
    check_offline_runs(tmp_path / "sweep")
