"""The output layer and its cross entropy as one function.

The logits of a whole batch, a row for each token and a column for each word, would be the largest tensor of a training step
and pass through memory half a dozen times. Here they are computed for a few rows at a time, which stay in the
processor's cache, and for each row only the derivative of its loss is kept, in the precision of the products.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from throughtime.data.batch import IGNORED
from throughtime.nn.products import multiplication
from throughtime.train.loss import Losses

IN_CACHE, ON_GPU = 1 << 19, 1 << 26  # logits at a time: few enough for a cache, or enough to fill a GPU


def output_loss(output: nn.Linear, features: Tensor, targets: Tensor, smoothing: float = 0.0) -> Losses:
    """The losses of a batch; the one to minimise, which alone is differentiable, has the share `smoothing` of each
    target spread over all tokens (Szegedy et al. 2016, section 7).

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
        whole = lower.dtype == weight.dtype
        multiply = multiplication(lower, rows, bias if whole else None)
        sums, learning = weight.new_zeros(2), any(ctx.needs_input_grad)
        logit_gradients = features.new_empty((len(features) if learning else 0, len(weight)))
        for start in range(0, len(features), rows):
            block = slice(start, start + rows)
            logits = multiply(features[block])
            logits = logits if whole else logits.to(weight.dtype).add_(bias)
            probabilities = torch.softmax(logits, dim=-1, out=logit_gradients[block] if whole and learning else None)
            sums += _losses(logits, probabilities, targets[block], smoothing)
            if learning:
                _probabilities_to_gradients_(probabilities, targets[block], smoothing)
                if not whole:
                    logit_gradients[block] = probabilities
        ctx.save_for_backward(logit_gradients, features, lower, bias, targets)
        total, smoothed = sums[0].clone(), sums[1].clone()
        ctx.mark_non_differentiable(total)
        return total, smoothed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, above: Tensor) -> tuple[Tensor | None, ...]:
        logit_gradients, features, weight, bias, targets = ctx.saved_tensors
        of_features, of_weight, of_bias, *_ = ctx.needs_input_grad
        scale, counted = above.to(logit_gradients.dtype), (targets != IGNORED).to(logit_gradients.dtype)
        by_row = (scale * counted)[:, None]
        return (
            logit_gradients @ weight * by_row if of_features else None,
            (logit_gradients.t() @ (features * by_row)).to(bias.dtype) if of_weight else None,
            ((counted @ logit_gradients) * scale).to(bias.dtype) if of_bias else None,
            None,
            None,
        )


def _losses(logits: Tensor, probabilities: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Logits and probabilities (rows, words) -> the sum of the losses, and of the smoothed losses, (2,).

    `total`, the logarithm of the sum of exponentials, is computed at the likeliest word, whose probability is never too
    small.
    """
    counted = targets != IGNORED
    total = logits.amax(dim=1, keepdim=True) - probabilities.amax(dim=1, keepdim=True).log()
    plain = ((total - logits.gather(1, targets.clamp(min=0)[:, None]))[:, 0] * counted).sum()
    evenly = ((total[:, 0] - logits.mean(dim=1)) * counted).sum() if smoothing else plain
    return torch.stack([plain, (1 - smoothing) * plain + smoothing * evenly])


def _probabilities_to_gradients_(probabilities: Tensor, targets: Tensor, smoothing: float) -> None:
    """Turns probabilities (rows, words) into the derivative of each row's smoothed loss with respect to its logits, as
    if all rows counted."""
    if smoothing:
        probabilities.sub_(smoothing / probabilities.shape[1])
    hit = torch.full_like(probabilities[:, :1], smoothing - 1)
    probabilities.scatter_add_(1, targets.clamp(min=0)[:, None], hit)
