"""A run that is resumed ends where one that was never interrupted ends, bit for bit."""

import csv
import json
import shutil
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
from tests.conftest import FEW_NUMBERS, OF_TEXT, ROOT, STORY, TINY
from tests.integration.offline import offline_run

from throughtime import compose, config
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
        if name.startswith(("val/", "test/")) or name in ("train_tokens", "steps", "objective", "best_epoch"):
            assert ours[name] == theirs[name], name


def history(folder: Path) -> list[dict[str, float]]:
    """Every validation of a run, those before it was resumed included."""
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return content["callbacks"][Progress.__qualname__]["history"]


def rows(folder: Path) -> list[dict[str, str]]:
    """What is in `metrics.csv`, if there is one, but for the test's."""
    if not (folder / "metrics.csv").exists():
        return []
    with (folder / "metrics.csv").open() as file:
        found = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in found if not any(name.startswith("test/") for name in row)]


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


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("corpus", ["text", "pairs"])
def test_the_next_epoch_may_have_other_batches(
    train: Callable[..., Path], story: Path, corpus: str, more: bool
) -> None:
    common = {"text": ["data=text", f"data.path={story}"], "pairs": FEW_NUMBERS}[corpus]
    few, many = {"text": ("tbptt.chunk=64", "tbptt.chunk=16"), "pairs": ("batch.tokens=512", "batch.tokens=64")}[corpus]
    before, now = (few, many) if more else (many, few)
    half = train(*common, before, folder="half")
    other = train(*common, now, folder="other")
    resumed = train(*common, now, "trainer.epochs=3", f"resume={half}", folder="resumed")
    first, further = (at["step"] for folder in (half, other) for at in history(folder))
    assert (further > first) == more
    ends = [(0, first), (1, first + further), (2, first + 2 * further)]
    assert [(at["epoch"], at["step"]) for at in history(resumed)] == ends
    summary = json.loads((resumed / "summary.json").read_text())
    assert (summary["epochs"], summary["steps"]) == (3, first + 2 * further)


def test_a_run_that_is_done_may_be_resumed(train: Callable[..., Path]) -> None:
    done = train(*FEW_NUMBERS, "trainer.epochs=2", "flow.rows=1", folder="done")
    again = train(*FEW_NUMBERS, "trainer.epochs=2", "flow.rows=1", f"resume={done}", folder="again")
    same(done, again)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (done, again)]
    assert [summary["epochs"] for summary in summaries] == [2, 2]
    assert (again / "gradient_flow.png").exists()


@pytest.mark.parametrize("summary", ["", "{}"])
def test_a_damaged_summary_is_told(train: Callable[..., Path], summary: str) -> None:
    half = train(*FEW_NUMBERS, folder="half")
    (half / "summary.json").write_text(summary)
    with pytest.raises(config.Mistake, match=f"resume={half}: allowed is a run whose summary.json is whole"):
        compose.continued([f"resume={half}"])


def test_what_is_said_anew_of_one_place_leaves_another(train: Callable[..., Path]) -> None:
    first = train(*FEW_NUMBERS, "cell=gru", "cell@encoder.cell=lstm", "search@sampling=sample", "search=greedy")
    line = compose.continued([f"resume={first}", "cell=gru", "search=beam"])
    assert {"cell@encoder.cell=lstm", "search@sampling=sample"} <= set(line)
    assert line[-3:] == [f"resume={first}", "cell=gru", "search=beam"]
    assert "search=greedy" not in line and line.count("cell=gru") == 1


def test_what_another_choice_does_not_have_falls_away(train: Callable[..., Path]) -> None:
    first = train(*FEW_NUMBERS, "search.size=3", "tbptt.chunk=5", "averaging=ema", "averaging.decay=0.9")
    line = compose.continued([f"resume={first}", "search=greedy", "averaging=nonmonotone"])
    assert "tbptt.chunk=5" in line and not {"search.size=3", "averaging.decay=0.9", "averaging=ema"} & set(line)
    assert compose.ready("train", line) == line
    with pytest.raises(config.Mistake, match="^search=beem: allowed is"):
        compose.continued([f"resume={first}", "search=beem"])


def test_a_resumed_run_remembers_its_settings(program: Callable[..., Any], tmp_path: Path, story: Path) -> None:
    text = ["data=text", f"data.path={story}", "cell=gru", "tbptt.chunk=16"]
    assert program("train.py", *TINY, *OF_TEXT, *text, "hydra.run.dir=first").returncode == 0
    done = program("train.py", "resume=first", "trainer.epochs=2", "hydra.run.dir=second")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "second" / "summary.json").read_text())
    assert summary["epochs"] == 2
    assert {"cell=gru", "model.hidden=8", "trainer.epochs=2"} <= set(summary["overrides"])
    assert "trainer.epochs=1" not in summary["overrides"]


def begun(folder: Path, story: Path, *overrides: str) -> subprocess.Popen[str]:
    """A run `first` in a process of its own, which has saved a checkpoint and goes on until it is ended."""
    common = [*TINY, *OF_TEXT, "data=text", f"data.path={story}", "tbptt.chunk=2", "trainer.epochs=100000", *overrides]
    line = [sys.executable, str(ROOT / "train.py"), *common, "hydra.run.dir=first"]
    running = subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not (folder / "first" / "checkpoints" / "last.ckpt").exists() and running.poll() is None:
        time.sleep(0.05)
    return running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_where_the_run_stands(tmp_path: Path, story: Path, number: signal.Signals) -> None:
    running = begun(tmp_path, story, "dropout=zaremba")
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
        ("on_validation_start", "stopped after the last step, 3; resume=", 128 + signal.SIGTERM),
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


LINKS = {
    "an epoch's end": ["trainer.epochs=4", "schedule=plateau", "optim=sgd", "optim.lr=60"],
    "a validation": [
        "trainer.epochs=4",
        "trainer.validate_every=4",
        "averaging=nonmonotone",
        "optim=sgd",
        "optim.lr=10",
    ],
    "an epoch's end without a validation": ["trainer.epochs=4", "trainer.validate_every=3", "schedule=cosine"],
    "every step, but not a validation": ["tbptt=checkpointed", "trainer.epochs=14", "trainer.validate_every=6"],
    "every step": ["tbptt=checkpointed", "trainer.epochs=14", "schedule=plateau", "optim=sgd", "optim.lr=60"],
    "steps of several batches": ["tbptt.chunk=16", "trainer.accumulate=3", "trainer.validate_every=4"],
    "double precision": ["trainer.epochs=4", "trainer.precision=64-true"],
}


def test_its_curves_begin_at_the_beginning(train: Callable[..., Path], story: Path) -> None:
    """Without what the earlier run has written beyond its last checkpoint."""
    common = ["data=text", f"data.path={story}", "tbptt.chunk=16", "flow.rows=1", "tracking=csv"]
    whole = train(*common, "trainer.epochs=3", folder="whole")
    half = train(*common, "trainer.epochs=2", folder="half")
    for table in ("metrics.csv", "samples.csv", "gradient_flow.csv"):
        _write_beyond(half / table)
    lines = (half / "gradient_flow.jsonl").read_text()
    last = json.loads(lines.splitlines()[-1])
    (half / "gradient_flow.jsonl").write_text(lines + json.dumps({**last, "step": 9999}) + '\n{"epoch": 1, "st')
    resumed = train(*common, "trainer.epochs=3", f"resume={half}", folder="resumed")
    found = rows(resumed)
    assert [row for place, row in enumerate(found) if row not in found[:place]] == rows(whole)
    samples = [f"samples/epoch=00{epoch}.jsonl" for epoch in range(3)]
    for name in ("gradient_flow.jsonl", "gradient_flow.csv", "samples.csv", *samples):
        assert (resumed / name).read_text() == (whole / name).read_text(), name


def _write_beyond(table: Path) -> None:
    """A row of a step behind the checkpoint, and one that a kill has cut off."""
    names = table.read_text().splitlines()[0].split(",")
    with table.open("a") as file:
        file.write(",".join("9999" if name == "step" else "1" for name in names) + "\n\n0,1")


def test_its_pictures_of_attention_and_its_curves_on_wandb_begin_there_too(train: Callable[..., Path]) -> None:
    common = [*FEW_NUMBERS, "tracking=wandb"]
    half = train(*common, "trainer.epochs=2", folder="half")
    (half / "alignments" / "step-00009999.html").write_text("of a step beyond the checkpoint")
    resumed = train(*common, "trainer.epochs=3", f"resume={half}", folder="resumed")
    steps = torch.load(half / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] // 2
    pictures = {path.name for path in (resumed / "alignments").iterdir()}
    assert pictures == {f"step-{epoch * steps:08d}.html" for epoch in (1, 2, 3)}
    files = [next(folder.rglob("run-*.wandb")) for folder in (half, resumed)]
    losses = [[row for row in offline_run(file).history if "val/loss" in row] for file in files]
    assert [row["val/loss"] for row in losses[1]][:2] == [row["val/loss"] for row in losses[0]]
    assert len(losses[1]) == 3


def test_a_checkpoint_from_before_a_setting_existed(train: Callable[..., Path], story: Path) -> None:
    """It held the setting's default."""
    common = ["data=text", f"data.path={story}", "tbptt.chunk=16"]
    file = train(*common, folder="half") / "checkpoints" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    del content["throughtime"]["config"]["data"]["documents"]
    torch.save(content, file)
    train(*common, "trainer.epochs=2", f"resume={file}", folder="resumed")
    torch.save({**content, "throughtime": {**content["throughtime"], "config": {"seed": "one"}}}, file)
    with pytest.raises(config.Mistake, match="resume=.*: allowed is a checkpoint whose settings are still known, and "):
        train(*common, "trainer.epochs=2", f"resume={file}", folder="refused")


def test_a_damaged_record_is_told(train: Callable[..., Path]) -> None:
    half = train("trainer.epochs=1", folder="half")
    with (half / "metrics.csv").open("a") as file:
        names = (half / "metrics.csv").read_text().splitlines()[0].split(",")
        file.write(",".join("0" if name == "step" else "much" for name in names) + "\n")
    with pytest.raises(config.Mistake, match="resume=.*much"):
        train("trainer.epochs=2", f"resume={half}", folder="resumed")


@pytest.mark.parametrize("link", LINKS)
def test_a_step_is_stopped_behind_all_that_belongs_to_it(
    train: Callable[..., Path], story: Path, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped again and again, in every step that is a multiple of 4 or 5, the last one included; no row is lost."""
    common = ["data=text", f"data.path={story}", "tbptt.chunk=64", "dropout=zaremba", "log_every=2", *LINKS[link]]
    whole = train(*common, folder="whole")
    steps = json.loads((whole / "summary.json").read_text())["steps"]
    before: list[str] = []
    for number, step in enumerate(step for step in range(1, steps + 1) if step % 4 == 0 or step % 5 == 0):
        here = [*common, *before]
        stopped_where(lambda trainer, step=step: trainer.global_step == step, train, *here, folder=f"part-{number}")
        before = [f"resume={whole.parent}/part-{number}"]
    resumed = train(*common, *before, folder="resumed")
    same(whole, resumed)
    assert history(whole) == history(resumed)[: len(history(whole))]  # one that has no step left looks once more
    found = rows(resumed)  # of all parts; where an epoch is ended once more, its loss is written once more
    assert [row for place, row in enumerate(found) if row not in found[:place]] == rows(whole)


def group(folder: Path) -> dict[str, Any]:
    """The optimiser's settings in the last checkpoint."""
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return content["optimizer_states"][0]["param_groups"][0]


def test_a_resumed_run_takes_its_own_optimiser_settings(train: Callable[..., Path]) -> None:
    first = train(*FEW_NUMBERS, "optim.lr=0.003", folder="first")
    new = ["optim.lr=0.0001", "optim.weight_decay=0.3", "optim.betas=[0.8,0.9]"]
    second = group(train(*FEW_NUMBERS, *new, "trainer.epochs=2", f"resume={first}", folder="second"))
    assert (second["lr"], second["weight_decay"], tuple(second["betas"])) == (0.0001, 0.3, (0.8, 0.9))


@pytest.mark.parametrize("plan", ["cosine", "decay"])
def test_a_resumed_schedule_goes_on_from_another_rate(train: Callable[..., Path], plan: str) -> None:
    common = [*FEW_NUMBERS, f"schedule={plan}", "trainer.epochs=6"]
    whole = train(*common, "optim.lr=0.004", folder="whole")
    stopped_where(lambda trainer: trainer.global_step == 12, train, *common, "optim.lr=0.001", folder="first")
    resumed = train(*common, "optim.lr=0.004", f"resume={whole.parent}/first", folder="resumed")
    assert group(resumed)["lr"] == pytest.approx(group(whole)["lr"], rel=1e-12)


def test_a_resumed_plateau_has_its_own_factor(train: Callable[..., Path]) -> None:
    common = [*FEW_NUMBERS, "schedule=plateau", "optim=sgd", "optim.lr=80"]
    first = train(*common, folder="first")
    worse = ["schedule.factor=0.1", "schedule.patience=0", "trainer.epochs=9"]
    resumed = train(*common, *worse, f"resume={first}", folder="resumed")
    losses = [at["val/loss"] for at in history(resumed)]
    fell = sum(loss >= min(losses[:place]) for place, loss in enumerate(losses) if place)
    assert fell and group(resumed)["lr"] == pytest.approx(80 * 0.1**fell)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ("cell=gru", "cell=gru: allowed is lstm"),
        ("schedule=cosine", "schedule=cosine: allowed is plateau"),
        ("dropout=zoneout", "dropout=zoneout: allowed is none"),
        ("cell.chrono=9", "cell.chrono=9: allowed is null"),
    ],
)
def test_what_a_resumed_run_may_not_change(train: Callable[..., Path], other: str, sentence: str) -> None:
    first = train(*FEW_NUMBERS, "schedule=plateau", folder="first")
    with pytest.raises(config.Mistake, match=f"^{sentence}, as in the checkpoint"):
        train(*FEW_NUMBERS, "schedule=plateau", other, f"resume={first}", folder="second")


def test_a_checkpoint_alone_does_not_tell_a_runs_settings(train: Callable[..., Path], tmp_path: Path) -> None:
    alone = shutil.copy(train(*FEW_NUMBERS, "cell=gru") / "checkpoints" / "last.ckpt", tmp_path / "alone.ckpt")
    with pytest.raises(config.Mistake, match=r"^cell=lstm: allowed is gru, as in .*, beside which no summary.json"):
        train(*FEW_NUMBERS, f"resume={alone}", folder="second")


def test_a_resumed_run_ends_no_earlier_than_it_began(train: Callable[..., Path]) -> None:
    first = train(*FEW_NUMBERS, "trainer.epochs=3", folder="first")
    for setting, behind, others in (
        ("trainer.epochs", r"2, the epochs that", []),
        ("trainer.steps", r"\d+, the steps that", ["trainer.epochs=3"]),
    ):
        with pytest.raises(config.Mistake, match=rf"^{setting}=1: allowed is at least {behind} the checkpoint"):
            train(*FEW_NUMBERS, f"{setting}=1", *others, f"resume={first}", folder=setting)


def test_a_signal_stops_all_processes_of_a_run(tmp_path: Path, story: Path) -> None:
    running = begun(tmp_path, story, "trainer=ddp", "trainer.accelerator=cpu")
    assert workers_of(tmp_path)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert [text.partition(" step ")[0] for text in said.splitlines()] == ["stopping after this step, and any "
        "validation it triggers; a second signal ends the run at once", "stopped at"]  # fmt: skip
    summary = json.loads((tmp_path / "first" / "summary.json").read_text())
    assert (summary["state"], summary["error"]) == ("stopped", "stopped by SIGTERM")
    step = int(said.split("stopped at step ")[1].split(";")[0])
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == step
    assert not workers_of(tmp_path)


def test_no_process_outlives_the_run_that_started_it(tmp_path: Path, story: Path) -> None:
    running = begun(tmp_path, story, "trainer=ddp", "trainer.accelerator=cpu")
    assert workers_of(tmp_path)
    running.kill()
    running.wait()
    until = time.monotonic() + 30
    while workers_of(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert not workers_of(tmp_path)


def workers_of(folder: Path) -> list[str]:
    """The processes of runs below a folder."""
    found = subprocess.run(["pgrep", "-f", f"run.worker {folder}"], check=False, capture_output=True, text=True)
    return found.stdout.split()


@pytest.mark.parametrize("name", ["plain", "it's {a}, lr=0.1", "a\\'b", 'say "so"'])
def test_the_last_run_is_that_of_now(train: Callable[..., Path], name: str) -> None:
    """Not one that another job of the same sweep begins meanwhile."""
    first = train(*FEW_NUMBERS, folder=f"runs/{name}")
    line = ["-m", "resume=last", "seed=1,2", f"outputs={first.parent}"]
    (named,) = (text for text in compose.continued(line) if text.startswith("resume="))
    assert compose.composed("train", [named])["resume"] == str(first / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("change", ["the cat sat. " * 120 + "on the mat and the dog sat on the log.\n", STORY[::-1]])
def test_other_data_is_refused(train: Callable[..., Path], story: Path, change: str) -> None:
    """Though its vocabulary is the same."""
    text = ["data=text", f"data.path={story}", "tokenizer=byte", "tbptt.chunk=16", "trainer.validate_every=2"]
    first = train(*text, "trainer.steps=3", folder="first")
    story.write_text(change)
    with pytest.raises(config.Mistake, match=r"resume=.*: allowed is a checkpoint of the same data"):
        train(*text, "trainer.steps=5", f"resume={first}", folder="second")
