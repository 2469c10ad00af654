"""The output layer and loss in one are those of torch, however many rows are made at a time."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data.batch import IGNORED
from throughtime.train import output_loss as module
from throughtime.train.output_loss import output_loss


def batch() -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    targets = torch.randint(0, 9, (3, 5))
    targets[1, 2:] = IGNORED
    return nn.Linear(4, 9, dtype=torch.float64), torch.randn(3, 5, 4, dtype=torch.float64).requires_grad_(), targets


def of_torch(output: nn.Linear, features: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    logits = output(features).flatten(0, 1)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing, reduction="sum")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("logits_at_a_time", [1, 20, 1000])
def test_loss_and_gradients_are_those_of_torch(
    smoothing: float, logits_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_CACHE", logits_at_a_time)
    output, features, targets = batch()
    total, count, smoothed, _ = output_loss(output, features, targets, smoothing)
    theirs = of_torch(output, features, targets, smoothing)
    torch.testing.assert_close(smoothed, theirs)
    torch.testing.assert_close(total, of_torch(output, features, targets, 0.0))
    assert count == (targets != IGNORED).sum()
    weights = [features, *output.parameters()]
    for ours, expected in zip(
        torch.autograd.grad(smoothed / 7, weights), torch.autograd.grad(theirs / 7, weights), strict=True
    ):
        torch.testing.assert_close(ours, expected)


def test_tied_weights_get_both_gradients() -> None:
    output, _, targets = batch()
    tokens = targets.clamp(min=0)
    smoothed = output_loss(output, F.embedding(tokens, output.weight), targets).minimised
    ours = torch.autograd.grad(smoothed, output.weight)
    theirs = torch.autograd.grad(of_torch(output, F.embedding(tokens, output.weight), targets, 0.0), output.weight)
    torch.testing.assert_close(ours, theirs)


def test_lower_precision_is_close_and_its_gradients_come_in_the_weights_own() -> None:
    output, features, targets = batch()
    output, low = output.float(), features.float().detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        smoothed = output_loss(output, low, targets).minimised
    smoothed.backward()
    assert output.weight.grad is not None and output.weight.grad.dtype == torch.float32
    (expected,) = torch.autograd.grad(of_torch(output, low, targets, 0.0), output.weight)
    torch.testing.assert_close(output.weight.grad, expected, atol=0.05, rtol=0.05)


def test_without_gradients_nothing_is_kept() -> None:
    output, features, targets = batch()
    with torch.no_grad():
        smoothed = output_loss(output, features, targets).minimised
    assert not smoothed.requires_grad
