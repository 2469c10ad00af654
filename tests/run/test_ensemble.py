"""Several checkpoints as one: an ensemble's probabilities are the mean of its members', and a language model adds its own."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS, OF_TEXT, TINY
from tests.run.conftest import job

from throughtime import compose, config
from throughtime.run import training

TARGETS = ["un", "deux cents", "vingt et un mille"]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model with the translator's vocabulary."""
    folder = tmp_path_factory.mktemp("other")
    overrides = [*TINY, *FEW_NUMBERS, "tokenizer=byte", "context=initial_state", "seed=7", f"outputs={folder}/outputs"]
    training.run(compose.composed("train", overrides), folder / "run", overrides)
    return folder / "run"


def language_model_of(folder: Path, *overrides: str) -> Path:
    """One of lines that all look alike."""
    (folder / "text.txt").write_text("un deux trois quatre\n" * 60)
    chosen = [*TINY, *OF_TEXT, "data=text", f"data.path={folder}/text.txt", f"outputs={folder}/outputs", *overrides]
    training.run(compose.composed("train", chosen), folder / "run", chosen)
    return folder / "run"


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of bytes."""
    return language_model_of(tmp_path_factory.mktemp("writer"), "tokenizer=byte", "data.documents=lines")


@pytest.fixture
def scores(tmp_path: Path) -> Callable[..., list[float]]:
    """The log-probabilities of each token of the targets (of each text, by a language model), behind one another."""

    def run(checkpoint: str, *overrides: str) -> list[float]:
        (tmp_path / "in.tsv").write_text("".join(f"one\t{target}\n" for target in TARGETS))
        (tmp_path / "texts.txt").write_text("".join(f"{target}\n" for target in TARGETS))
        name = "texts.txt" if "writer" in checkpoint else "in.tsv"
        files = [f"input={tmp_path}/{name}", f"output={tmp_path}/out.jsonl"]
        job(f"checkpoint={checkpoint}", "mode=score", *files, *overrides)
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        return [score for row in rows for score in row["token_log_probabilities"]]

    return run


def test_an_ensemble_of_one_is_that_one(scores: Callable[..., list[float]], translator: Path) -> None:
    alone = scores(f"{translator}")
    for combine in ("ensemble", "loglinear", "average"):
        assert scores(f"[{translator}]", f"combine={combine}") == pytest.approx(alone, abs=1e-5)
    for combine in ("ensemble", "average"):  # loglinear leaves what pad and bos have to the others
        assert scores(f"[{translator},{translator}]", f"combine={combine}") == pytest.approx(alone, abs=1e-5)


def test_probabilities_are_the_members_mean(scores: Callable[..., list[float]], translator: Path, other: Path) -> None:

    one, two = torch.tensor(scores(f"{translator}")), torch.tensor(scores(f"{other}"))
    assert (one - two).abs().max() > 1e-3
    together = torch.tensor(scores(f"[{translator},{other}]", "combine=ensemble"))
    torch.testing.assert_close(together.exp(), (one.exp() + two.exp()) / 2, atol=1e-6, rtol=1e-4)
    loglinear = torch.tensor(scores(f"[{translator},{other}]", "combine=loglinear"))
    assert (loglinear >= (one + two) / 2 - 1e-6).all()  # normalised again, by a sum of at most 1


def test_a_language_model_adds_its_own(scores: Callable[..., list[float]], translator: Path, writer: Path) -> None:
    alone, fluency = scores(f"{translator}"), scores(f"{writer}")
    weight = ["language_model_weight=0.5"]
    fused = scores(f"{translator}", f"language_model={writer}", *weight)
    expected = [score + 0.5 * other for score, other in zip(alone, fluency, strict=True)]
    assert fused == pytest.approx(expected, abs=1e-4)
    silent = scores(f"{translator}", f"language_model={writer}", "language_model_weight=0")
    assert silent == pytest.approx(alone, abs=1e-6)


def test_a_language_model_may_take_the_vocabulary_of_a_translator(tmp_path: Path) -> None:
    """Though it is learned from other texts; and what it has learned to end it ends."""
    chosen = [*TINY, *FEW_NUMBERS, "tokenizer=word", f"outputs={tmp_path}/outputs"]
    training.run(compose.composed("train", chosen), tmp_path / "translator", chosen)
    taken = ["tokenizer=taken", f"tokenizer.path={tmp_path}/translator", "data.documents=lines", "optim.lr=0.05"]
    (tmp_path / "beside").mkdir()
    writer = language_model_of(tmp_path / "beside", *taken, "trainer.epochs=8")
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    (tmp_path / "prompt.txt").write_text("un deux trois\n")
    fused = [f"checkpoint={tmp_path}/translator", f"language_model={writer}"]
    job(*fused, f"input={tmp_path}/in.txt", f"output={tmp_path}/out.txt")
    assert (tmp_path / "out.txt").read_bytes().count(b"\n") == 2
    job(f"checkpoint={writer}", f"input={tmp_path}/prompt.txt", f"output={tmp_path}/out.jsonl")
    (best, *_) = json.loads((tmp_path / "out.jsonl").read_text())["hypotheses"]
    assert (best["text"].strip(), best["finished"]) == ("quatre", True)


def test_an_ensemble_searches_too(translator: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    files = [f"input={tmp_path}/in.txt", f"output={tmp_path}/out.txt"]
    job(f"checkpoint=[{translator},{other}]", "combine=ensemble", *files)
    assert (tmp_path / "out.txt").read_bytes().count(b"\n") == 2


def test_what_does_not_go_together(translator: Path, language_model: Path, writer: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    files = [f"input={tmp_path}/in.txt"]
    endless = language_model_of(tmp_path, "tokenizer=byte")
    cases = {
        (f"checkpoint=[{translator},{translator}]",): "combine=null: allowed is average, ensemble or loglinear",
        (f"checkpoint=[{translator},{writer}]", "combine=ensemble"): "allowed is one with the vocabulary of",
        (f"checkpoint={translator}", f"language_model={language_model}"): "a language model with the vocabulary of",
        (f"checkpoint={translator}", f"language_model={translator}"): "a language model with the vocabulary of",
        (f"checkpoint={translator}", f"language_model={endless}"): "allowed is one that has learned where a line ends",
        (f"checkpoint={writer}", f"language_model={writer}"): "allowed is null with the checkpoint of a language model",
    }
    for overrides, sentence in cases.items():
        with pytest.raises(config.Mistake, match=sentence):
            job(*overrides, *files)
