"""What a run tells while it goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import FEW_NUMBERS

from throughtime.callbacks import progress


def lines(said: str) -> list[list[str]]:
    return [line.split() for line in said.splitlines() if line.startswith("epoch ")]


def test_a_validation_has_a_line(train: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    train(*FEW_NUMBERS, "trainer.epochs=2")
    told = lines(capsys.readouterr().out)
    assert [line[1] for line in told] == ["0", "1"]
    assert all({"loss", "perplexity", "bleu"} <= set(line) and line[-1] == "tokens/s" for line in told)


def test_a_log_file_hears_of_a_long_epoch(
    train: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SILENCE", 0.0)
    train(*FEW_NUMBERS)
    *steps, validation = lines(capsys.readouterr().out)
    assert [int(line[3]) for line in steps] == list(range(1, len(steps) + 1))
    assert len(steps) > 2 and int(validation[3]) == len(steps)
    assert all(line[4:6] == ["train", "loss"] and "perplexity" not in line for line in steps)
