"""The recurrent product, once a step with the same matrix: packed ahead where the processor has a kernel for it."""

from collections.abc import Callable

import torch
from torch import Tensor


def multiplication(matrix: Tensor, rows: int) -> Callable[[Tensor], Tensor]:
    """A function x -> x matrix^T for many x (rows, in); `matrix`: (out, in)."""
    if (
        matrix.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and matrix.dtype in (torch.float32, torch.bfloat16)
    ):
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), rows)
        return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    transposed = matrix.t()
    return lambda x: torch.mm(x, transposed)
