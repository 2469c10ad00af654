"""The output layer and its cross entropy as one function.

The logits of a whole batch, a row for each token and a column for each word, would be the largest tensor of a training step
and go through memory half a dozen times. Here they are made for a few rows at a time, which stay in the processor's cache,
and of each row only the derivative of its loss is kept, in the precision of the products.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from throughtime.data.batch import IGNORED
from throughtime.nn.products import column_sums, multiplication
from throughtime.train.loss import Losses

IN_CACHE, ON_GPU = 1 << 19, 1 << 26  # logits made at a time: few enough for a cache, or enough to fill a GPU


def output_loss(output: nn.Linear, features: Tensor, targets: Tensor, smoothing: float = 0.0) -> Losses:
    """The losses of a batch; what is minimised has the share `smoothing` of each target spread over all tokens (Szegedy et
    al. 2016, section 7), and is the one to differentiate.

    `features` (batch, time, width) are what the `output` layer takes, `targets` are (batch, time).
    """
    device = features.device.type
    lower = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else output.weight.dtype
    flat = targets.flatten()
    total, smoothed = _OutputLoss.apply(features.flatten(0, 1).to(lower), output.weight, output.bias, flat, smoothing)
    return Losses(total, (flat != IGNORED).sum(), smoothed)


class _OutputLoss(torch.autograd.Function):
    """features (rows, width), weight (words, width), bias (words,), targets (rows,) -> both sums."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        rows = -(-(IN_CACHE if features.device.type == "cpu" else ON_GPU) // len(weight))
        lower = weight.to(features.dtype)
        multiply = multiplication(lower, rows)
        sums, learning = weight.new_zeros(2), any(ctx.needs_input_grad)
        slopes = features.new_empty((len(features) if learning else 0, len(weight)))
        for start in range(0, len(features), rows):
            block = slice(start, start + rows)
            chances = torch.log_softmax(multiply(features[block]).to(weight.dtype).add_(bias), dim=-1)
            sums += _losses(chances, targets[block], smoothing)
            if learning:
                slopes[block] = _slopes(chances, targets[block], smoothing)
        ctx.save_for_backward(slopes, features, lower, bias)
        total, smoothed = sums[0].clone(), sums[1].clone()
        ctx.mark_non_differentiable(total)
        return total, smoothed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, above: Tensor) -> tuple[Tensor | None, ...]:
        slopes, features, weight, bias = ctx.saved_tensors
        of_features, of_weight, of_bias, *_ = ctx.needs_input_grad
        scale = above.to(slopes.dtype)
        return (
            slopes @ weight * scale if of_features else None,
            (slopes.t() @ (features * scale)).to(bias.dtype) if of_weight else None,
            (column_sums(slopes) * scale).to(bias.dtype) if of_bias else None,
            None,
            None,
        )


def _losses(chances: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Log-probabilities (rows, words) -> the sum of the losses, and of the smoothed losses, (2,)."""
    counted = targets != IGNORED
    plain = -(chances.gather(1, targets.clamp(min=0)[:, None])[:, 0] * counted).sum()
    evenly = -(chances.mean(dim=1) * counted).sum() if smoothing else plain
    return torch.stack([plain, (1 - smoothing) * plain + smoothing * evenly])


def _slopes(chances: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Log-probabilities (rows, words), which are overwritten -> the derivative of each row's smoothed loss by its logits."""
    slopes = chances.exp_().sub_(smoothing / chances.shape[1])
    hit = torch.full_like(slopes[:, :1], smoothing - 1)
    return slopes.scatter_add_(1, targets.clamp(min=0)[:, None], hit).mul_((targets != IGNORED)[:, None])
