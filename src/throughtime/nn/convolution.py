"""A convolution along time."""

import torch.nn.functional as F
from torch import Tensor, nn


class Convolution(nn.Conv1d):
    """(batch, features in, time) -> (batch, features out, time), padded with zeros at both ends (for an even window,
    one more on the right), as torch's `padding="same"` does, but without its warning about even windows."""

    def forward(self, input: Tensor) -> Tensor:
        beyond = self.kernel_size[0] - 1
        return super().forward(F.pad(input, (beyond // 2, beyond - beyond // 2)))
