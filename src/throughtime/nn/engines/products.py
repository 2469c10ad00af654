"""Products with a matrix that stays, of one step after the other: packed ahead where the processor has a kernel for it."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Product = Callable[[Tensor], Tensor]
Precision = Literal["float32", "bf16", "int8"]

TYPICAL_ROWS = 320  # that a packed matrix is laid out for; any other number is right, too


def multiplication(matrix: Tensor, rows: int) -> Product:
    """A function x -> x matrix^T for many x (rows, in); `matrix`: (out, in)."""
    if _packs(matrix):
        return _packed(matrix, None, rows)
    transposed = matrix.t()
    return lambda x: torch.mm(x, transposed)


def product(matrix: Tensor, bias: Tensor | None, precision: Precision) -> Product:
    """A function x -> x matrix^T + bias for many float32 x (rows, in), the product in a lower precision if asked."""
    if precision == "int8":
        return _in_int8(matrix, bias)
    if precision == "bf16":
        low = product(matrix.bfloat16(), None if bias is None else bias.bfloat16(), "float32")
        return lambda x: low(x.bfloat16()).float()
    return _packed(matrix, bias, TYPICAL_ROWS) if _packs(matrix) else lambda x: F.linear(x, matrix, bias)


def _packs(matrix: Tensor) -> bool:
    return (
        matrix.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and matrix.dtype in (torch.float32, torch.bfloat16)
    )


def _packed(matrix: Tensor, bias: Tensor | None, rows: int) -> Product:
    packed = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def _in_int8(matrix: Tensor, bias: Tensor | None) -> Product:
    """Both sides in 8 bits, summed in 32: each row of the matrix, and each x, has a scale of its own, so that no x depends
    on the others beside it."""
    scales = (matrix.abs().amax(dim=1) / 127).clamp(min=1e-20)
    whole = (matrix / scales[:, None]).round().to(torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(whole.contiguous(), [TYPICAL_ROWS, matrix.shape[1]])
    zeros, added = torch.zeros(len(matrix), dtype=torch.int), torch.zeros(()) if bias is None else bias

    def multiplied(x: Tensor) -> Tensor:
        scale = (x.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-20)
        low = torch.addcdiv(x.new_full((), 128.5), x, scale).to(torch.uint8)  # of -127 to 127, rounded, from 1 up
        found = torch.ops.onednn.qlinear_pointwise(
            low, 1.0, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return torch.addcmul(added, found, scale, out=found)

    return multiplied


def why_not(precision: Precision, device: torch.device) -> str | None:
    """Why products of a precision cannot be had on a device, or None where they can."""
    if precision == "int8" and device.type != "cpu":
        return "int8 products are for processors"
    if precision == "int8" and not torch.cpu._is_vnni_supported():
        return "this processor has no int8 products (VNNI)"
    if precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "this processor has no bf16 products"
    return None
