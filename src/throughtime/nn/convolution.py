"""A convolution along time."""

import torch.nn.functional as F
from torch import Tensor, nn


class Convolution(nn.Conv1d):
    """(batch, features in, time) -> (batch, features out, time), with zeros beyond both ends, of an even window one more at
    the right: as by torch's `padding="same"`, which warns of that."""

    def forward(self, input: Tensor) -> Tensor:
        beyond = self.kernel_size[0] - 1
        return super().forward(F.pad(input, (beyond // 2, beyond - beyond // 2)))
