"""The project's products are torch's, forward and backward, by whichever kernel."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.nn.products import linear, multiplication

KINDS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def gradients(function: object, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """The product and the gradient of each argument under a loss that weighs every unit differently."""
    given = [part.clone().requires_grad_() for part in (inputs, weight, bias) if part is not None]
    product = function(*given)  # type: ignore[operator]
    (product * torch.arange(product.numel()).view_as(product).sin()).sum().backward()
    return [product.detach(), *(part.grad for part in given)]  # type: ignore[list-item]


@KINDS
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_linear_is_that_of_torch(dtype: torch.dtype, biased: bool, shape: tuple[int, ...]) -> None:
    inputs, weight = torch.randn(*shape, dtype=dtype), torch.randn(7, 5, dtype=dtype)
    bias = torch.randn(7, dtype=dtype) if biased else None
    for ours, theirs in zip(
        gradients(linear, inputs, weight, bias), gradients(F.linear, inputs, weight, bias), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_linear_takes_a_transposed_view_and_frozen_weights() -> None:
    inputs, weight = torch.randn(5, 4, 3, dtype=torch.float32).transpose(0, 1), torch.randn(7, 3, dtype=torch.float32)
    inputs.requires_grad_()
    linear(inputs, weight).sum().backward()
    torch.testing.assert_close(inputs.grad, weight.sum(0).expand_as(inputs))


def test_linear_is_of_lower_precision_under_autocast() -> None:
    inputs, weight = torch.randn(4, 5, dtype=torch.float32), torch.randn(7, 5, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(inputs, weight).dtype == torch.bfloat16


@KINDS
@pytest.mark.parametrize("rows", [1, 6])
def test_packed_multiplication(dtype: torch.dtype, rows: int) -> None:
    matrix, inputs = torch.randn(7, 5, dtype=dtype), torch.randn(rows, 5, dtype=dtype)
    torch.testing.assert_close(multiplication(matrix, rows)(inputs), inputs @ matrix.t())
