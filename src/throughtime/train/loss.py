"""The token-weighted cross entropy."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from throughtime.data.batch import IGNORED
from throughtime.train.ranks import together


def token_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Summed cross entropy in nats, the same with the share `smoothing` of each target spread over all tokens (Szegedy et
    al. 2016, section 7), and the number of targets that count.

    logits (batch, time, vocabulary), targets (batch, time).
    """
    flat = targets.flatten()
    chances = F.log_softmax(logits.flatten(0, 1), dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    total, counted = F.nll_loss(chances, flat, ignore_index=IGNORED, reduction="sum"), flat != IGNORED
    if not smoothing:
        return total, total, counted.sum()
    evenly = -chances.mean(dim=-1)[counted].sum()
    return total, (1 - smoothing) * total + smoothing * evenly, counted.sum()


def per_token(total: Tensor, count: Tensor) -> Tensor:
    """The loss to differentiate: after DDP's mean over ranks it is the sum over all ranks / the tokens of all ranks."""
    if not together():
        return total / count
    everywhere = count.clone()
    dist.all_reduce(everywhere)
    return total * dist.get_world_size() / everywhere
