"""What AWD adds to the loss, by the paper's equations in plain loops."""

import torch
from tests.conftest import settings

from throughtime.train.awd_penalty import awd_penalty


def test_penalties_are_the_papers() -> None:
    choice = settings("data=stdlib_docs", "dropout=awd", "dropout.activation=2", "dropout.temporal=3").dropout
    outputs, dropped = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    squares = sum(float(value) ** 2 for value in dropped.flatten()) / 40
    jumps = [float(outputs[row, time + 1, unit] - outputs[row, time, unit]) for row in range(2) for time in range(3)
             for unit in range(5)]  # fmt: skip
    expected = 2 * squares + 3 * sum(jump**2 for jump in jumps) / 30
    torch.testing.assert_close(awd_penalty(outputs, dropped, choice), torch.tensor(expected))
    assert awd_penalty(outputs, dropped, settings("dropout=zaremba").dropout) == 0
