"""Settings that nothing reads: whoever types one is told, and it changes nothing indeed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS

from throughtime import compose

# the settings of a run -> others, which do nothing there
IDLE = {
    "": "batch.columns=3 batch.offset=true batch.restarts=0.5 decoding.prompts=[one] decoding.prompt_length=3 "
    "sampling.top_k=3 flow.steps=2 search.diversity=3",
    "encoder=convolutional": "cell@encoder.cell=gru model.bidirectional=true model.merge=sum",
    "model.bidirectional=false": "model.merge=sum",
    "data=text data.path={}/story.txt decoding.prompts=[the] flow.rows=0": "decoding.prompt_length=5 flow.steps=9",
    "data=text data.path={}/story.txt tbptt=off": "batch.restarts=0.5",
    "data=text data.path={}/story.txt data.validation_path={}/story.txt": "data.validation_share=0.2",
    "context=initial_state": "decoding.alignments=3",
    "cell.chrono=9": "cell.forget_bias=3",
    "search.normalisation=none": "search.alpha=0.3",
    "model=prefix_lm tokenizer.joint=true": "encoder=convolutional context=initial_state batch.columns=3",
    "data=text data.path={}/story.txt": "batch.tokens=100 batch.longest=3 decoding.sentences=1 encoder.hidden=3 "
    "tokenizer.joint=true "
    "encoder=convolutional context=dot teacher.word_dropout=0.5",
}


@pytest.mark.parametrize(("some", "others"), IDLE.items())
def test_they_change_nothing(some: str, others: str, train: Callable[..., Path], story: Path) -> None:
    common = ["flow.rows=1", *some.replace("{}", str(story.parent)).split(), "trainer.steps=3"]
    common += [] if "data=text" in some else FEW_NUMBERS
    runs = [train(*common, folder="without"), train(*common, *others.split(), folder="with")]
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    assert summaries[0]["objective"] == summaries[1]["objective"]
    samples = [(run / "samples" / "epoch=000.jsonl").read_text() for run in runs]
    assert samples[0] == samples[1]
    weights = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in runs]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(("some", "others"), IDLE.items())
def test_they_are_told(some: str, others: str, story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = some.replace("{}", str(story.parent)).split()
    compose.ready("train", [*common, *others.split(), "seed=3"])
    notes = capsys.readouterr().err.splitlines()
    for note, setting in zip(notes, others.split(), strict=True):
        assert note.startswith(f"note: {setting} does nothing with ")


def test_what_one_job_of_a_sweep_reads_is_not_idle(capsys: pytest.CaptureFixture[str]) -> None:
    compose.ready("train", ["-m", "search.normalisation=none,length", "search.alpha=0.6,1"])
    assert not capsys.readouterr().err
    compose.ready("train", ["-m", "search.normalisation=none", "search.alpha=0.6,1", "cell@encoder.cell=gru"])
    assert capsys.readouterr().err.startswith(
        "note: search.alpha=0.6,1 does nothing with search.normalisation=none; it"
    )


def test_of_decoding(capsys: pytest.CaptureFixture[str]) -> None:
    compose.ready("decode", ["checkpoint=last", "mode=score", "search=greedy", "bootstrap=3", "shortlist.best=3"])
    said = [note.partition(" does nothing ")[0] for note in capsys.readouterr().err.splitlines()]
    assert said == ["note: search=greedy", "note: bootstrap=3", "note: shortlist.best=3"]
    compose.ready("decode", ["checkpoint=last", "language_model=x", "language_model_weight=1", "search=greedy"])
    assert not capsys.readouterr().err
