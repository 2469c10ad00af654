"""What the processes of a run tell one another."""

from typing import Any

import torch.distributed as dist
from torch import Tensor


def together() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized()


def leading() -> bool:
    """Whether this process is alone or the first."""
    return not together() or dist.get_rank() == 0


def of_all_ranks(counts: Tensor) -> Tensor:
    """The sum of counts over all ranks."""
    if not together():
        return counts
    everywhere = counts.clone()
    dist.all_reduce(everywhere)
    return everywhere


def from_all_ranks(value: Any) -> list[Any]:
    """Every process's value, by rank, on every process."""
    if not together():
        return [value]
    gathered = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered
