"""A random token from one number per row, which may have been drawn on another device than the distribution's."""

import torch
from torch import Tensor


def token_at(logits: Tensor, uniform: Tensor) -> Tensor:
    """Logits (..., vocabulary) and numbers at least 0 and below 1 (..., 1) -> tokens (..., 1), each with its own
    probability: the first at which the distribution function reaches 1 - `uniform` (inverse transform sampling).

    In float64, where the device has it: in float32 the last of many probabilities would be lost in their sum. Where the
    logits are NaN, as those of a model that has diverged, it is the last token.
    """
    finest = torch.float32 if logits.device.type == "mps" else torch.float64
    reached = logits.softmax(dim=-1, dtype=finest).cumsum(dim=-1)
    found = torch.searchsorted(reached, (1 - uniform.to(reached, non_blocking=True)) * reached[..., -1:])
    return found.clamp(max=logits.shape[-1] - 1)
