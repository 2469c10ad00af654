"""The token-weighted cross entropy."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from throughtime.data.batch import IGNORED
from throughtime.train.ranks import together


def token_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross entropy in nats and the number of targets that count.

    logits (batch, time, vocabulary), targets (batch, time).
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, (targets != IGNORED).sum()


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
