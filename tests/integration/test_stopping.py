"""Early stopping follows the metric it is told to, text scores included, in that metric's own direction."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import FEW_NUMBERS

FAST = [*FEW_NUMBERS, "trainer.validate_every=1", "trainer.epochs=8", "optim.lr=0.5"]


@pytest.mark.parametrize("monitor", ["loss", "chrf", "rouge1", "token_error_rate"])
def test_training_stops_after_so_many_validations_without_a_better_score(
    train: Callable[..., Path], monitor: str
) -> None:
    stop = [f"trainer.early_stopping.monitor={monitor}", "trainer.early_stopping.patience=2"]
    folder = train(*FAST, *stop, "metrics.scores=[chrf,rouge1,token_error_rate]")
    with (folder / "metrics.csv").open() as file:
        scores = [float(row[f"val/{monitor}"]) for row in csv.DictReader(file) if row[f"val/{monitor}"]]
    sign = 1 if monitor in ("loss", "token_error_rate") else -1
    stopped = next(
        done
        for done in range(3, len(scores) + 1)
        if min(sign * score for score in scores[: done - 2]) <= min(sign * score for score in scores[done - 2 : done])
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert stopped == len(scores) == summary["steps"] < 8 * 4
    assert summary["monitor"] == f"val/{monitor}"
    assert summary["objective"] == sign * min(sign * score for score in scores)
    assert summary[f"test/{monitor}"] is not None
