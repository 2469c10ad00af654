"""The convolution is torch's, without its warning."""

import warnings

import pytest
import torch
from torch import nn

from throughtime.nn.convolution import Convolution


@pytest.mark.parametrize("window", [1, 2, 3, 4, 9])
def test_equals_torch_padded_the_same(window: int) -> None:
    ours, inputs = Convolution(3, 5, window), torch.randn(2, 3, 6)
    theirs = nn.Conv1d(3, 5, window, padding="same")
    theirs.load_state_dict(ours.state_dict())
    with warnings.catch_warnings(action="error"):
        found = ours(inputs)
    with warnings.catch_warnings(action="ignore"):
        torch.testing.assert_close(found, theirs(inputs))
