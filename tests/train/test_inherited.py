"""Runs that begin with the weights of another."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS, STORY, TINY

from throughtime import compose, config
from throughtime.train import checkpoint

STILL = "optim.lr=1e-12"


def result(folder: Path, name: str) -> float:
    found: float = json.loads((folder / "summary.json").read_text())[name]
    return found


@pytest.fixture
def prose(train: Callable[..., Path], story: Path) -> Path:
    """A language model's run."""
    return train(*OF_PROSE, f"data.path={story}", "optim.lr=0.05", folder="prose")


OF_PROSE = ["data=text", "tokenizer=word", "tbptt.chunk=8"]


def test_a_run_begins_where_the_other_was_best(train: Callable[..., Path]) -> None:
    """A run that learns nothing measures what the other did; with more epochs the optimiser's moments begin anew."""
    first = train(*FEW_NUMBERS, "optim.lr=0.01", folder="first")
    again = train(*FEW_NUMBERS, STILL, f"start_from={first}", "tokenizer=taken", f"tokenizer.path={first}")
    assert result(again, "val/loss") == pytest.approx(result(first, "val/loss"), rel=1e-5)
    assert result(again, "steps") == result(first, "steps")


def test_a_model_of_texts_goes_on_with_pairs_and_back(train: Callable[..., Path], prose: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("the cat\tthe mat\n" * 60)
    of_pairs = ["data=pairs", f"data.path={tmp_path}/pairs.tsv", "model=prefix_lm", "tokenizer=taken"]
    reader = train(*of_pairs, STILL, f"start_from={prose}", folder="reader")
    assert same_weights(reader, prose)
    (tmp_path / "other.txt").write_text(STORY[200:])
    back = ["data=text", f"data.path={tmp_path}/other.txt", "tbptt.chunk=8", "tokenizer=taken"]
    assert same_weights(train(*back, STILL, f"start_from={reader}", folder="back"), prose)


def same_weights(one: Path, other: Path) -> bool:
    found = []
    for folder in (one, other):
        weights = checkpoint.weights(checkpoint.read(folder / "checkpoints" / "best.ckpt", "checkpoint"))
        found.append({name.removeprefix("language_model."): value for name, value in weights.items()})
    return found[0].keys() == found[1].keys() and all(
        torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0]
    )


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    {
        ("tokenizer=taken", "model.hidden=9"): "stack.layers.0.cells.0.weight_input is 32 x 4 there and 36 x 4 here",
        ("tokenizer=taken", "cell=gru"): "is 32 x 4 there and 24 x 4 here",
        ("tokenizer=taken", "model.depth=2"): "is absent there and 32 x 8 here",
        ("tokenizer=char",): "a checkpoint with this run's vocabulary; tokenizer=taken takes that of a run",
    }.items(),
)
def test_what_does_not_fit_is_told(
    train: Callable[..., Path], prose: Path, story: Path, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(config.Mistake, match="start_from=") as told:
        train(*OF_PROSE, f"data.path={story}", f"start_from={prose}", *overrides)
    assert sentence in str(told.value) and "\n" not in str(told.value)


def test_two_weights_do_not_become_one(train: Callable[..., Path]) -> None:
    """One weight may become two."""
    alike = ["model.embedding=8", "model.hidden=8", "tokenizer=byte"]
    apart = train(*FEW_NUMBERS, *alike, folder="apart")
    for name, needing in (("the output", "model.tied=true"), ("the source", "model.shared_embedding=true")):
        with pytest.raises(config.Mistake, match="the same model.tied and model.shared_embedding"):
            train(*FEW_NUMBERS, *alike, needing, f"start_from={apart}", folder=name)
    tied = train(*FEW_NUMBERS, *alike, "model.tied=true", folder="tied")
    assert result(train(*FEW_NUMBERS, *alike, STILL, f"start_from={tied}"), "val/loss") == pytest.approx(
        result(tied, "val/loss"), rel=1e-5
    )


def test_the_vocabulary_is_that_of_the_run_around_a_checkpoint(train: Callable[..., Path]) -> None:
    first = train(*FEW_NUMBERS, "optim.lr=0.01", "trainer.keep.last=2", folder="first")
    (kept,) = (first / "checkpoints" / "last").iterdir()
    again = train(*FEW_NUMBERS, STILL, f"start_from='{kept}'", "tokenizer=taken")
    assert result(again, "val/loss") == pytest.approx(result(first, "val/loss"), rel=1e-5)


def test_a_shared_vocabulary_is_not_taken_from_two(train: Callable[..., Path]) -> None:
    first = train(*FEW_NUMBERS, folder="first")
    for needing in ("model=prefix_lm", "model.shared_embedding=true"):
        with pytest.raises(config.Mistake, match=f"one vocabulary for both sides, for {needing}"):
            train(*FEW_NUMBERS, "tokenizer=taken", f"tokenizer.path={first}", needing, folder=needing)


def test_without_a_run_nothing_is_taken(story: Path) -> None:
    values = compose.composed("train", [*TINY, *OF_PROSE, f"data.path={story}", "tokenizer=taken"])
    with pytest.raises(config.Mistake, match="tokenizer.path=null: allowed is the folder of the run"):
        config.check(values, config.TrainConfig)


def test_the_newest_run_is_named_by_its_folder(train: Callable[..., Path], tmp_path: Path) -> None:
    run = train(*FEW_NUMBERS, folder="outputs/first")
    given = [f"outputs={tmp_path}/outputs", "start_from=last", "seed=2"]
    assert compose.continued(given) == [given[0], f"start_from='{run}'", "seed=2"]
    sweep = tmp_path / "outputs" / "sweep"
    (sweep / "0" / "checkpoints").mkdir(parents=True)
    (sweep / "0" / "checkpoints" / "best.ckpt").write_bytes(b"")
    going_on = ["-m", *given, f"hydra.sweep.dir={sweep}"]
    assert compose.continued(going_on)[2] == f"start_from='{sweep / '0'}'"  # one that begins there
    asked = [f"start_from='{run}'", "seed=2"]
    (sweep / "sweep.json").write_text(json.dumps({"overrides": asked, "jobs": [{"job": "0"}]}))
    assert compose.continued(going_on)[2] == f"start_from='{run}'"  # one that goes on
    assert compose.continued([f"start_from={sweep}"]) == [f"start_from='{sweep / '0'}'"]
    with pytest.raises(config.Mistake, match=f"start_from={run},last lists last: allowed is last alone"):
        compose.continued(["-m", f"start_from={run},last"])
