"""Losses weighted by tokens, over one process or many."""

import math
from typing import NamedTuple

import torch.distributed as dist
from torch import Tensor

from throughtime.train.ranks import together

LARGEST = 80.0  # nats, whose exponential float32 still holds


class Losses(NamedTuple):
    """Of a batch: the summed cross entropy in nats, the number of targets that count, the sum that training minimises, and
    the penalty that it adds to this sum's mean."""

    total: Tensor
    targets: Tensor
    minimised: Tensor
    penalty: Tensor | float = 0.0


def per_token(total: Tensor, everywhere: Tensor) -> Tensor:
    """The loss to differentiate: after DDP's mean over ranks it is the sum over all ranks / the tokens `everywhere`."""
    return total * (dist.get_world_size() if together() else 1) / everywhere


def perplexity(loss: float) -> float:
    """The perplexity of a mean loss in nats per token, which from `LARGEST` on is always the same."""
    return math.exp(min(loss, LARGEST))
