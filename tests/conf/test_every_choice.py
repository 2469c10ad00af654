"""Contract 6: every option of every group composes, builds, trains, validates, decodes and is recorded."""

import csv
import json
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
import yaml
from tests.conftest import AWD, FEW_NUMBERS, ROOT, settings

from throughtime import compose, config
from throughtime.run import decoding

CONF = ROOT / "conf"
CHOICES = [
    f"{folder.name}={path.stem}"
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name not in ("data", "model", "experiment")
    for path in sorted(folder.glob("*.yaml"))
]
# refused with pairs; tests/train/test_evaluation.py, and below
OF_TEXT = {"evaluation=cache", "evaluation=dynamic", "tbptt=jittered", "tbptt=windows", "tbptt=checkpointed"}
# a machine with a GPU; tests/integration/test_processes.py, test_own_cell.py, tests/run/test_ensemble.py
ELSEWHERE = {"trainer=gpu", "trainer=ddp", "cell=own", "tokenizer=taken"}

NEEDS = {  # by pairs
    "tokenizer=bpe": ["tokenizer.vocabulary=280"],
    "context=dot": ["model.merge=sum"],
    "dropout=awd": AWD,
}


def decode(folder: Path, text: str, *overrides: str) -> list[dict]:
    """What decode.py writes for one line."""
    (folder / "in.txt").write_text(text + "\n")
    files = [f"checkpoint={folder}", f"input={folder}/in.txt", f"output={folder}/out.jsonl", "search.max_length=8"]
    values = compose.composed("decode", [*files, *overrides])
    decoding.decode(config.check(values, config.DecodeConfig))
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def check_record(folder: Path) -> dict:
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["state"] == "done"
    assert summary["val/loss"] > 0
    assert summary["test/loss"] > 0
    assert summary["tokens_per_second"] > 0
    with (folder / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or [])
    assert {"epoch", "step", "train/loss_epoch", "val/loss", "test/loss"} <= columns
    assert yaml.safe_load((folder / "config.yaml").read_text())["run"]["name"]
    assert list((folder / "samples").glob("epoch=*.jsonl"))
    assert (folder / "gradient_flow.png").exists()
    return summary


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice not in ELSEWHERE | OF_TEXT])
def test_choice_with_pairs(choice: str, train: Callable[..., Path]) -> None:
    numbers = ["data=number_words", *FEW_NUMBERS, *NEEDS.get(choice, [])]
    folder = train(choice, *numbers, "flow.rows=1")
    summary = check_record(folder)
    scores = yaml.safe_load((folder / "config.yaml").read_text())["metrics"]["scores"]
    assert {f"{split}/{score}" for split in ("val", "test") for score in scores} <= set(summary)
    (result,) = decode(folder, "forty-two", *([choice] if choice.startswith("search") else []))
    assert result["source"] == "forty-two"
    assert result["hypotheses"][0]["length"] <= 8


def test_a_prefix_model_trains_and_decodes(train: Callable[..., Path]) -> None:
    folder = train(
        "model=prefix_lm",
        "flow.rows=1",
        "tokenizer=word",
        "tokenizer.joint=true",
        "data=stories",
        "data.train=60",
        "data.validation=14",
        "data.test=14",
    )
    summary = check_record(folder)
    assert {"val/perplexity", "test/perplexity", "test/exact_match"} <= set(summary)
    kinds = yaml.safe_load((folder / "config.yaml").read_text())["data"]["kinds"]
    assert {f"{split}/exact_match/{kind}" for split in ("val", "test") for kind in kinds} <= set(summary)
    (result,) = decode(folder, "is anna in the attic ? anna went to the attic .")
    assert result["hypotheses"][0]["length"] <= 8


TEXT_GROUPS = ("cell", "tbptt", "tokenizer", "dropout", "search")
SHORT = {  # the story is too short for the defaults to cut it
    "tbptt=fixed": "tbptt.chunk=16", "tbptt=jittered": "tbptt.chunk=16", "tbptt=windows": "tbptt.stride=16",
}  # fmt: skip
TEXT_CHOICES = [choice for choice in CHOICES if choice.split("=")[0] in TEXT_GROUPS and choice not in ELSEWHERE]


@pytest.mark.parametrize("choice", TEXT_CHOICES)
def test_choice_with_text(choice: str, train: Callable[..., Path], story: Path) -> None:
    short = SHORT.get(choice, "seed=2" if choice.startswith("tbptt") else "tbptt.chunk=16")
    folder = train("data=text", f"data.path={story}", choice, short, "flow.rows=1")
    summary = check_record(folder)
    assert {"val/perplexity", "val/bits_per_token", "val/bits_per_character"} <= set(summary)
    (result,) = decode(folder, "the cat")
    assert len(result["hypotheses"]) == 1


@pytest.mark.parametrize("experiment", [path.stem for path in sorted((CONF / "experiment").glob("*.yaml"))])
def test_experiment_composes_and_builds(experiment: str) -> None:
    from throughtime import build

    values = compose.composed("train", [f"experiment={experiment}"])
    if values["data"]["name"] in ("text", "pairs"):
        values["data"]["path"] = "the user's own"
    checked = config.check(values, config.TrainConfig)
    with torch.device("meta"):
        assert build.model(checked, {"text": 50, "source": 50, "target": 50})


@pytest.mark.parametrize(
    "replaced", ["dropout=none", "optim=sgd", "schedule=constant", "search=greedy", "search=stochastic_beam"]
)
def test_another_choice_may_replace_a_recipes_own(replaced: str) -> None:
    group, choice = replaced.split("=")
    assert getattr(settings("experiment=multi30k", "data=number_words", replaced), group).name == choice


def test_what_no_choice_of_a_group_knows_stays() -> None:
    values = {"dropout": {"name": "none", "rate": 0.3, "rato": 0.3}, "tracking": {"name": "non"}, "sead": 1}
    kept = {"dropout": {"name": "none", "rato": 0.3}, "tracking": {"name": "non"}, "sead": 1}
    assert config.without_leftovers(values, config.TrainConfig) == kept


def test_groups_and_schema_list_the_same_choices() -> None:
    for group, kind in get_type_hints(config.TrainConfig).items():
        listed = {yaml.safe_load(path.read_text()).get("name") for path in (CONF / group).glob("*.yaml")} - {None}
        sections = filter(is_dataclass, get_args(kind))
        known = {name for section in sections for name in get_args(get_type_hints(section).get("name"))}
        assert not listed or listed == known, group
