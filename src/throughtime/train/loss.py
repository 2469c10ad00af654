"""The token-weighted cross entropy."""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from throughtime.data.batch import IGNORED
from throughtime.train.ranks import together


class Losses(NamedTuple):
    """Of a batch: the summed cross entropy in nats, the number of targets that count, the sum that training minimises, and
    what it adds to its mean."""

    total: Tensor
    targets: Tensor
    minimised: Tensor
    penalty: Tensor | float = 0.0


def token_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross entropy in nats and the number of targets that count.

    logits (batch, time, vocabulary), targets (batch, time).
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, (targets != IGNORED).sum()


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Losses:
    """The same, minimised with the share `smoothing` of each target spread over all tokens (Szegedy et al. 2016)."""
    chances = F.log_softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    counted = targets != IGNORED
    total = F.nll_loss(chances.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    evenly = -chances.mean(dim=-1)[counted].sum()
    return Losses(total, counted.sum(), (1 - smoothing) * total + smoothing * evenly)


def of_all_ranks(count: Tensor) -> Tensor:
    """The sum of a count over all ranks."""
    if not together():
        return count
    everywhere = count.clone()
    dist.all_reduce(everywhere)
    return everywhere


def per_token(total: Tensor, everywhere: Tensor) -> Tensor:
    """The loss to differentiate: after DDP's mean over ranks it is the sum over all ranks / the tokens `everywhere`."""
    return total * (dist.get_world_size() if together() else 1) / everywhere
