"""Validations lie so many steps apart, of however many batches a step is."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(("accumulate", "every"), [(1, 3), (3, 2), (4, 3), (7, 1)])
def test_a_validation_comes_behind_so_many_steps(
    train: Callable[..., Path], story: Path, accumulate: int, every: int
) -> None:
    folder = train(
        "data=text",
        f"data.path={story}",
        "tbptt.chunk=64",
        "trainer.epochs=4",
        f"trainer.accumulate={accumulate}",
        f"trainer.validate_every={every}",
    )
    with (folder / "metrics.csv").open() as file:
        found = [int(row["step"]) + 1 for row in csv.DictReader(file) if row["val/loss"]]
    last = found[-1]
    assert found == sorted({*range(every, last + 1, every), last})
    assert len(found) > 2
