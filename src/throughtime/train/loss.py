"""The token-weighted cross entropy."""

import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from throughtime.data.batch import IGNORED
from throughtime.train.ranks import together


def token_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross entropy in nats and the number of targets that count.

    logits (batch, time, vocabulary), targets (batch, time).
    """
    total = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, (targets != IGNORED).sum()


def per_token(total: Tensor, count: Tensor) -> Tensor:
    """The loss to differentiate: after DDP's mean over ranks it is the sum over all ranks / the tokens of all ranks."""
    if not together():
        return total / count
    everywhere = count.clone()
    dist.all_reduce(everywhere)
    return total * dist.get_world_size() / everywhere
