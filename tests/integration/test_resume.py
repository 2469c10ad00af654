"""A run that is resumed ends where one that was never interrupted ends, bit for bit."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from tests.conftest import FEW_NUMBERS, ROOT, TINY

from throughtime import compose
from throughtime.callbacks.interruption import Interruption
from throughtime.callbacks.progress import Progress
from throughtime.nn.models import LanguageModel


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def epochs(folder: Path) -> int:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1


def same(one: Path, other: Path) -> None:
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name
    ours, theirs = (json.loads((folder / "summary.json").read_text()) for folder in (one, other))
    for name in ours:
        if name.startswith(("val/", "test/")) or name == "train_tokens":
            assert ours[name] == theirs[name]


def stopped_where(here: Callable[[Trainer], bool], train: Callable[..., Path], *overrides: str, folder: str) -> None:
    """A run that gets a signal behind a batch."""
    ended = Interruption.on_train_batch_end

    def signalled(self: Interruption, trainer: Trainer, *rest: Any) -> None:
        if here(trainer):
            signal.raise_signal(signal.SIGTERM)
        ended(self, trainer, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Interruption, "on_train_batch_end", signalled)
        with pytest.raises(SystemExit):
            train(*overrides, folder=folder)


@pytest.mark.parametrize("dropout", ["none", "zaremba"])
def test_language_model(train: Callable[..., Path], story: Path, dropout: str) -> None:
    common = ["data=text", f"data.path={story}", "tbptt.chunk=16", f"dropout={dropout}"]
    whole = train(*common, "trainer.epochs=4", folder="whole")
    half = train(*common, "trainer.epochs=2", folder="half")
    same(whole, train(*common, "trainer.epochs=4", f"resume={half}", folder="resumed"))


def test_in_the_middle_of_an_epoch_the_state_is_carried(train: Callable[..., Path], story: Path) -> None:
    common = ["data=text", f"data.path={story}", "tbptt.chunk=16", "dropout=zaremba", "trainer.validate_every=5"]
    whole = train(*common, "trainer.epochs=2", "trainer.steps=20", folder="whole")
    half = train(*common, "trainer.epochs=2", "trainer.steps=10", folder="half")
    same(whole, train(*common, "trainer.epochs=2", "trainer.steps=20", f"resume={half}", folder="resumed"))


def test_a_run_that_stopped_early_goes_on_with_more_patience(train: Callable[..., Path]) -> None:
    common = [*FEW_NUMBERS, "trainer.epochs=7", "optim.lr=3"]
    whole = train(*common, "trainer.early_stopping.patience=3", folder="whole")
    early = train(*common, "trainer.early_stopping.patience=1", folder="early")
    assert epochs(early) < epochs(whole) < 7
    resumed = train(*common, "trainer.early_stopping.patience=3", f"resume={early}", folder="resumed")
    same(whole, resumed)
    best, before = (torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True) for folder in (resumed, early))
    assert best["global_step"] == before["global_step"]  # what came behind it was worse


def test_a_kept_checkpoint_brings_the_settings_of_its_run(train: Callable[..., Path]) -> None:
    first = train(*FEW_NUMBERS, "trainer.validate_every=1", "trainer.steps=3", "trainer.keep.last=2", "optim.lr=0.5")
    kept = first / "checkpoints" / "last" / "step-00000002.ckpt"
    for place in (first, first / "checkpoints" / "best.ckpt", kept):
        line = compose.continued([f"resume={place}", "trainer.steps=4"])
        assert "optim.lr=0.5" in line
        assert line[-2:] == [f"resume={place}", "trainer.steps=4"]


@pytest.mark.parametrize("every", [2, 7])
def test_a_plateau_is_one_of_validations(train: Callable[..., Path], every: int) -> None:
    """However they lie to the epochs of 5 steps, and though the run is broken off between."""
    slow = [*FEW_NUMBERS, "schedule=plateau", "optim=sgd", "optim.lr=80", f"trainer.validate_every={every}"]
    whole = train(*slow, "trainer.epochs=9", "trainer.steps=28", folder="whole")
    first = train(*slow, "trainer.epochs=9", "trainer.steps=14", folder="first")
    same(whole, train(*slow, "trainer.epochs=9", "trainer.steps=28", f"resume={first}", folder="resumed"))
    with (whole / "metrics.csv").open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert len(losses) == 28 // every
    worse = sum(loss >= min(losses[:place]) for place, loss in enumerate(losses) if place)
    state = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["lr_schedulers"][0]
    assert worse and state["_last_lr"] == [80 * 0.5**worse]
    assert state["last_epoch"] == len(losses)


OPTIONS = {
    "jittered": ["tbptt=jittered", "tbptt.chunk=12", "batch.offset=true", "optim=sgd", "schedule=cosine"],
    "windows": ["tbptt=windows", "tbptt.stride=10", "tbptt.window=24", "batch.documents=reset", "data.path='{}/*.txt'"],
    "checkpointed": ["tbptt=checkpointed", "batch.offset=true", "trainer.epochs=12"],
    "accumulated": ["tbptt.chunk=16", "trainer.accumulate=3", "model.learned_state=true"],
    "accumulated and jittered": ["tbptt=jittered", "tbptt.chunk=12", "trainer.accumulate=4", "batch.offset=true"],
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_way_through_time_in_the_middle_of_an_epoch(train: Callable[..., Path], story: Path, option: str) -> None:
    """Stopped between two batches, be it of one accumulated step."""
    (story.parent / "tale.txt").write_text("a dog and a cat.\n" * 30)
    settings = ["data=text", f"data.path={story}", "dropout=zaremba", "trainer.epochs=2"]
    common = [*settings, *(setting.format(story.parent) for setting in OPTIONS[option])]
    whole = train(*common, folder="whole")
    stopped_where(lambda trainer: trainer.fit_loop.total_batch_idx == 7, train, *common, folder="first")
    same(whole, train(*common, f"resume={whole.parent}/first", folder="resumed"))


def test_translator(train: Callable[..., Path]) -> None:
    whole = train(*FEW_NUMBERS, "trainer.epochs=3", "dropout=zaremba", folder="whole")
    half = train(*FEW_NUMBERS, "trainer.epochs=1", "dropout=zaremba", folder="half")
    same(whole, train(*FEW_NUMBERS, "trainer.epochs=3", "dropout=zaremba", f"resume={half}", folder="resumed"))


@pytest.mark.parametrize("corpus", ["text", "pairs"])
def test_the_next_epoch_may_have_other_batches(train: Callable[..., Path], story: Path, corpus: str) -> None:
    text = ["data=text", f"data.path={story}", "tbptt.chunk=16"], ["tbptt.chunk=64"]
    before, now = {"text": text, "pairs": ([*FEW_NUMBERS, "batch.tokens=64"], ["batch.tokens=512"])}[corpus]
    half = train(*before, folder="half")
    other = train(*before, *now, folder="other")
    resumed = train(*before, *now, "trainer.epochs=2", f"resume={half}", folder="resumed")
    steps = {folder: json.loads((folder / "summary.json").read_text())["steps"] for folder in (half, other, resumed)}
    assert steps[half] > steps[other] > 0
    assert steps[resumed] == steps[half] + steps[other]


def test_a_resumed_run_remembers_its_settings(program: Callable[..., Any], tmp_path: Path, story: Path) -> None:
    text = ["data=text", f"data.path={story}", "cell=gru", "tbptt.chunk=16"]
    assert program("train.py", *TINY, *text, "hydra.run.dir=first").returncode == 0
    done = program("train.py", "resume=first", "trainer.epochs=2", "hydra.run.dir=second")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "second" / "summary.json").read_text())
    assert summary["epochs"] == 2
    assert {"cell=gru", "model.hidden=8", "trainer.epochs=2"} <= set(summary["overrides"])
    assert "trainer.epochs=1" not in summary["overrides"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_where_the_run_stands(tmp_path: Path, story: Path, number: signal.Signals) -> None:
    common = [*TINY, "data=text", f"data.path={story}", "tbptt.chunk=2", "dropout=zaremba"]
    line = [sys.executable, str(ROOT / "train.py"), *common, "trainer.epochs=100000", "hydra.run.dir=first"]
    running = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "first" / "checkpoints" / "last.ckpt").exists() and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + number
    assert said.splitlines()[-1].startswith("stopped at step ")
    summary = json.loads((tmp_path / "first" / "summary.json").read_text())
    assert (summary["state"], summary["error"]) == ("stopped", f"stopped by {number.name}")
    step = int(said.split("stopped at step ")[1].split(";")[0])
    assert torch.load(tmp_path / "first" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == step


@pytest.mark.parametrize(
    ("hook", "where", "code"),
    [
        ("on_validation_start", "stopped behind the last step, 3; resume=", 128 + signal.SIGTERM),
        ("on_test_start", "stopped in the test; resume=", 128 + signal.SIGINT),
    ],
)
def test_a_signal_behind_the_last_step(
    train: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    hook: str,
    where: str,
    code: int,
) -> None:
    monkeypatch.setattr(Progress, hook, lambda *_: signal.raise_signal(code - 128))
    if hook == "on_test_start":  # which the callback that answers hears first
        monkeypatch.setattr(Progress, hook, lambda *_: None)
        monkeypatch.setattr(Progress, "on_test_batch_start", lambda *_: signal.raise_signal(code - 128))
    settings = [*FEW_NUMBERS, "trainer.steps=3"]
    with pytest.raises(SystemExit) as ending:
        train(*settings, folder="first")
    assert ending.value.code == code
    said = capfd.readouterr().err
    assert where in said
    first = Path(said.split("resume=")[1].split(" ")[0])
    facts = json.loads((first / "summary.json").read_text())
    assert (facts["state"], facts["error"]) == ("stopped", f"stopped by {signal.Signals(code - 128).name}")
    monkeypatch.undo()
    same(train(*settings, folder="whole"), train(*settings, f"resume={first}", folder="resumed"))


def test_a_compiler_that_dies_of_the_signal_is_no_failure(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal's Ctrl-C reaches it, too."""

    def dying(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("the compiler was killed")

    monkeypatch.setattr(LanguageModel, "outputs", dying)
    with pytest.raises(SystemExit) as ending:
        train("data=stdlib_docs", folder="first")
    assert ending.value.code == 130


def test_a_stopped_run_goes_on_as_if_never_stopped(train: Callable[..., Path], story: Path) -> None:
    common = ["data=text", f"data.path={story}", "tbptt.chunk=16", "dropout=zaremba", "trainer.epochs=2"]
    whole = train(*common, folder="whole")
    stopped_where(lambda trainer: trainer.global_step == 13, train, *common, folder="first")
    same(whole, train(*common, f"resume={whole.parent}/first", folder="resumed"))
