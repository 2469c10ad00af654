"""A command line as Hydra is to see it."""

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
    (written,) = compose.ready("train", [argument])
    assert compose.composed("train", [written])["run"]["name"] == kept


def test_numbers_are_left_alone_and_flags_go_first() -> None:
    arguments = ["optim.lr=1e-3,1e-2", "trainer.minutes=1e-1", "-m", "seed=1_0", "hydra.job.num=1_0", "cell=gru"]
    overrides = [argument for argument in arguments if argument != "-m"]
    assert compose.ready("train", arguments) == ["-m", *overrides]
