"""Masks where all steps of a sequence are computed at once.

values: (time, batch, width); the state before them, and the one to restart from: both (batch, width).
"""

import torch
from torch import Tensor

from throughtime.nn.engines.masks import Masks


def restarted(a: Tensor, b: Tensor, initial: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
    """Coefficients of c_t = a_t * c_{t-1} + b_t that keep c where a step does not count and restart it at resets."""
    running, resets = masks.running.t()[..., None], masks.resets.t()[..., None]
    a, b = torch.where(running, a, 1.0), torch.where(running, b, 0.0)
    return torch.where(resets, 0.0, a), torch.where(resets, b + a * initial, b)


def before_each(values: Tensor, start: Tensor, initial: Tensor, masks: Masks | None) -> Tensor:
    """The state before each step, given its values after each."""
    earlier = torch.cat([start[None].to(values.dtype), values[:-1]])
    return earlier if masks is None else torch.where(masks.resets.t()[..., None], initial, earlier)


def settled(values: Tensor, start: Tensor, initial: Tensor, masks: Masks | None) -> Tensor:
    """The state after the last step, (batch, width), given its values after the steps that count."""
    if masks is None:
        return values[-1]
    steps = torch.arange(1, len(values) + 1, device=values.device)
    last = ((masks.running | masks.resets) * steps).amax(dim=1) - 1  # step that changed anything; -1 where none did
    rows = torch.arange(values.shape[1], device=values.device)
    changed = torch.where(masks.running[rows, last, None], values[last, rows], initial)
    return torch.where(last[:, None] >= 0, changed, start)
