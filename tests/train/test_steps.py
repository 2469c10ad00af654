"""An optimiser step: the mean over the tokens of all its batches, at the learning rate that it is meant to have."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import FEW_NUMBERS, settings

from throughtime import build, config
from throughtime.data.stream import ChunkLoader
from throughtime.data.tokenizer import BOS
from throughtime.train.optim import cosine
from throughtime.train.task import TokenMean
from throughtime.train.text_task import TextTask

EXACT = ["trainer.precision=64-true", "optim=sgd", "optim.lr=0.5", "trainer.clip.norm=null"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["global_step"] == 1
    return content["state_dict"]


def test_many_batches_are_one_large_one(train: Callable[..., Path]) -> None:
    """Batches of different numbers of tokens, and fewer of them than `accumulate`, since the epoch ends."""
    one = train(*FEW_NUMBERS, *EXACT, "batch.tokens=100000", folder="one")
    many = train(*FEW_NUMBERS, *EXACT, "batch.tokens=300", "trainer.accumulate=1000", folder="many")
    for name, weight in weights(one).items():
        if name.startswith("model."):
            torch.testing.assert_close(weights(many)[name], weight, rtol=1e-9, atol=1e-12)


def test_the_mean_of_a_long_epoch_is_exact() -> None:
    mean = TokenMean()
    mean.update(torch.tensor(4.0 * 2**26), torch.tensor(2**26))
    for _ in range(100):
        mean.update(torch.tensor(5.0), torch.tensor(1))
    assert float(mean.compute()) == pytest.approx((4 * 2**26 + 500) / (2**26 + 100), rel=1e-12)


def test_a_column_that_starts_afresh_reads_bos_from_the_initial_state() -> None:
    chosen = settings("data=text", "data.path=x", "model.hidden=6", "model.embedding=5", "batch.restarts=1")
    model = build.model(chosen, {"text": 13})
    task = TextTask(model, chosen, {}, {})
    first, second = ChunkLoader(np.arange(40) % 9 + 4, 2, config.FixedChunks("fixed", 10))
    task.losses(first, "train")
    alone = second._replace(tokens=second.tokens.clone(), first=True)
    alone.tokens[:, 0] = BOS
    torch.testing.assert_close(task.losses(second, "train").total, task.losses(alone, "train").total)


def test_the_state_goes_on_over_accumulated_chunks(train: Callable[..., Path], story: Path) -> None:
    """Every chunk as a window back to the text's beginning: their gradients add up to that of full BPTT."""
    text = [*EXACT, "data=text", f"data.path={story}", "model.learned_state=true"]
    one = train(*text, "tbptt=off", folder="one")
    windows = ["tbptt=windows", "tbptt.stride=100", "tbptt.window=100000"]
    many = train(*text, *windows, "trainer.accumulate=1000", folder="many")
    for name, weight in weights(one).items():
        if name.startswith("model."):
            torch.testing.assert_close(weights(many)[name], weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("schedule", "accumulate"), product(["constant", "cosine"], [1, 3]))
def test_the_rate_goes_with_the_length_and_comes_back(
    train: Callable[..., Path], story: Path, schedule: str, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["tbptt=jittered", "tbptt.chunk=20", "optim=sgd", "optim.lr=0.5", f"schedule={schedule}"]
    overrides += [f"trainer.accumulate={accumulate}", "trainer.epochs=2"]
    rates, lengths = [], []
    stepped = torch.optim.SGD.step

    def step(self: torch.optim.SGD, closure: Callable[[], Any]) -> Any:
        def watched() -> Any:
            loss = closure()
            rates.append(self.param_groups[0]["lr"])
            return loss

        return stepped(self, watched)

    from throughtime.train import text_task

    def read(model: Any, chunk: Any, *rest: Any) -> Any:
        if model.training:
            lengths.append(chunk.targets.shape[1])
        return reading(model, chunk, *rest)

    reading = text_task.read
    monkeypatch.setattr(text_task, "read", read)
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    train("data=text", f"data.path={story}", *overrides)
    epoch = len(lengths) // 2
    groups = [lengths[at : at + epoch][start : start + accumulate]
              for at in (0, epoch) for start in range(0, epoch, accumulate)]  # fmt: skip
    choice, steps = settings(f"schedule={schedule}").schedule, len(groups)
    shares = [cosine(step, steps, choice) if schedule == "cosine" else 1.0 for step in range(steps)]
    expected = [0.5 * share * sum(group) / len(group) / 20 for share, group in zip(shares, groups, strict=True)]
    assert len(set(lengths)) > 3
    assert rates == pytest.approx(expected, rel=1e-12)
