"""A name that looks like a number stays as the user wrote it."""

import pytest

from throughtime import compose


@pytest.mark.parametrize(
    ("argument", "kept"),
    {
        "run.name=2024_01": "2024_01",
        "run.name=1e5": "1e5",
        "run.name=1.50": "1.50",
        "run.name=+7": "+7",
        "run.name=2024": 2024,
        "run.name=007": "007",
    }.items(),
)
def test_a_name_is_a_text(argument: str, kept: str | int) -> None:
    (written,) = compose.as_written("train", [argument])
    assert compose.composed("train", [written])["run"]["name"] == kept


def test_numbers_and_flags_are_left_alone() -> None:
    arguments = ["-m", "optim.lr=1e-3,1e-2", "trainer.minutes=1e-1", "seed=1_0", "hydra.job.num=1_0", "cell=gru"]
    assert compose.as_written("train", arguments) == arguments
