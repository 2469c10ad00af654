"""The programs on a GPU, where there is one: what is trained there decodes there and on the CPU alike."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS, OF_TEXT, TINY

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(("cell", "engine"), [("lstm", "auto"), ("layer_norm_gru", "fused")])
def test_a_translator(program: Program, tmp_path: Path, cell: str, engine: str, precision: str) -> None:
    common = ["train.py", *TINY, *FEW_NUMBERS, f"cell={cell}", f"engine={engine}", "trainer=gpu"]
    done = program(*common, f"trainer.precision={precision}", "trainer.epochs=3", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["peak_gpu_memory_bytes"] > 0
    answers = []
    for accelerator in ("gpu", "cpu"):
        device = ["precision=float32", f"accelerator={accelerator}", "search.max_length=12", "format=jsonl"]
        decoded = program("decode.py", "checkpoint=run", *device, text="forty-two\nseven\n" * 5)
        assert decoded.returncode == 0, decoded.stderr
        answers.append([json.loads(line)["hypotheses"] for line in decoded.stdout.splitlines()])
    for here, there in zip(*answers, strict=True):
        assert [one["log_probability"] for one in here] == pytest.approx(
            [one["log_probability"] for one in there], rel=1e-2
        )


@pytest.mark.parametrize("tbptt", ["fixed", "windows", "checkpointed", "jittered"])
def test_a_language_model_is_trained_and_goes_on(program: Program, story: Path, tbptt: str) -> None:
    common = [
        "train.py",
        *TINY,
        *OF_TEXT,
        "data=text",
        f"data.path={story}",
        "cell=layer_norm_lstm",
        f"tbptt={tbptt}",
        "trainer=gpu",
    ]
    for own in (
        ["hydra.run.dir=half"],
        ["hydra.run.dir=whole", "resume=half", "trainer.epochs=3", "evaluation=dynamic"],
    ):
        done = program(*common, *own)
        assert done.returncode == 0, done.stderr
