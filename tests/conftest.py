"""What tests share: a tiny run in this process, and the programs as a user starts them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.elsewhere import device as device
from throughtime import compose, config

ROOT = Path(__file__).parents[1]
TINY = [
    "tracking=none",
    "trainer.epochs=1",
    "model.hidden=8",
    "model.embedding=4",
    "search.max_length=12",
    "decoding.examples=2",
    "log_every=2",
    "flow.rows=0",
]
OF_TEXT = ["batch.columns=4", "sampling.max_length=12", "decoding.prompt_length=4"]
OF_PAIRS = ["batch.tokens=256"]
FEW_NUMBERS = ["data.largest=500", "data.train=60", "data.validation=8", "data.test=8", *OF_PAIRS]
AWD = ["dropout=awd", "dropout.activation=0", "dropout.temporal=0"]  # as models of pairs have it, too
STORY = "the cat sat on the mat and the dog sat on the log.\n" * 40

os.environ["WANDB_MODE"] = "offline"
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken by the tests beside it
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def settings(*overrides: str) -> config.TrainConfig:
    """The checked training settings under the overrides."""
    return config.check(compose.composed("train", list(overrides)), config.TrainConfig)


@pytest.fixture
def double() -> Iterator[None]:
    """Numbers in float64, from a fixed seed."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Path]:
    """Runs a tiny training in this process and gives its folder."""

    def start(*overrides: str, folder: str = "run") -> Path:
        from throughtime.run import training

        values = compose.composed("train", [*TINY, *OF_TEXT, *OF_PAIRS, f"outputs={tmp_path}/outputs", *overrides])
        training.run(values, tmp_path / folder, list(overrides))
        return tmp_path / folder

    return start


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Starts train.py or decode.py in a process of its own, in an empty folder."""

    def start(name: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(ROOT / name), *arguments]
        return subprocess.run(line, input=text, capture_output=True, text=True, cwd=tmp_path, check=False)

    return start


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A small text file."""
    path = tmp_path / "story.txt"
    path.write_text(STORY)
    return path
