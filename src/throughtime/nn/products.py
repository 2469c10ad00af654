"""Products with a weight, by the fastest kernel there is: oneDNN's on a CPU, where torch itself takes a slower one for
float32. Torch's names for these kernels occur only here, those of the quantised ones in `precision.py`."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SMALL = 1 << 22  # multiplications, below which the call of oneDNN (40 us) costs more than its kernel saves


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b as `torch.nn.functional.linear`: inputs (..., in), weight (out, in), bias (out,) -> (..., out)."""
    if _has_kernel(inputs) and inputs.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
        product: Tensor = _Linear.apply(inputs, weight, bias)
        return product
    return F.linear(inputs, weight, bias)


class Linear(nn.Linear):
    """torch's linear layer by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def multiplication(matrix: Tensor, rows: int, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """A function x -> x matrix^T + bias for many x (rows, in) and one `matrix` (out, in), laid out in advance."""
    if rows * matrix.numel() <= SMALL and matrix.device.type == "cpu" and matrix.dtype == torch.float32:
        columns = matrix.t().contiguous()
        return (lambda x: x @ columns) if bias is None else (lambda x: torch.addmm(bias, x, columns))
    if _has_kernel(matrix):
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), rows)
        return lambda x: _product(x, packed, bias)
    return lambda x: F.linear(x, matrix, bias)


def column_sums(matrix: Tensor) -> Tensor:
    """(rows, columns) -> (columns,), added up in float32 at least; on a CPU by a product, much faster than `sum`."""
    if matrix.is_cuda:
        return matrix.sum(0)  # a product may round its factors there (TF32)
    return (matrix.new_ones(1, len(matrix)) @ matrix)[0]


@cache
def bf16_on_cpu() -> bool:
    """Whether this processor multiplies in bf16 itself; on others torch refuses oneDNN's product, or, on an x86 with
    AVX512, has it emulated."""
    found = torch.cpu.get_capabilities()
    itself = found["architecture"] != "x86_64" or found["avx512_bf16"] or found["amx_bf16"]
    return bool(itself) and _has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available()


def _has_kernel(tensor: Tensor) -> bool:
    if tensor.device.type != "cpu":
        return False
    return bf16_on_cpu() if tensor.dtype == torch.bfloat16 else tensor.dtype == torch.float32 and _has_onednn()


def _product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return product


class _Linear(torch.autograd.Function):
    """oneDNN's product and its derivative; the weight's gradient is by torch's product, which is faster there."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        of_inputs, of_weight, of_bias = ctx.needs_input_grad
        flat = above.reshape(-1, above.shape[-1])
        return (
            _product(above, weight.t().contiguous()) if of_inputs else None,
            flat.t() @ inputs.reshape(-1, inputs.shape[-1]) if of_weight else None,
            column_sums(flat) if of_bias else None,
        )
