"""Products of many steps with one fixed matrix, in a chosen precision."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from throughtime import config
from throughtime.nn.products import bf16_on_cpu, multiplication

Precision = Literal["float32", "bf16", "int8"]

TYPICAL_ROWS = 320  # the number that a packed matrix is laid out for; with any other the results are correct, too


def product(matrix: Tensor, bias: Tensor | None, precision: Precision) -> Callable[[Tensor], Tensor]:
    """A function x -> x matrix^T + bias for float32 x (rows, in) and results, with the weights as they are now; `matrix`:
    (out, in), `bias`: (out,)."""
    matrix, bias = matrix.detach(), None if bias is None else bias.detach()
    if precision == "int8":
        return _in_int8(matrix, bias)
    if precision == "bf16":
        low = multiplication(matrix.bfloat16(), TYPICAL_ROWS, None if bias is None else bias.bfloat16())
        return lambda x: low(x.bfloat16()).float()
    return multiplication(matrix, TYPICAL_ROWS, bias)


def _in_int8(matrix: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Both factors in 8 bits, summed in 32: each row of the matrix, and each x, has a scale of its own, so that no x
    depends on the others in the batch."""
    scales = (matrix.abs().amax(dim=1) / 127).clamp(min=1e-20)
    whole = (matrix / scales[:, None]).round().to(torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(whole.contiguous(), [TYPICAL_ROWS, matrix.shape[1]])
    zeros, added = torch.zeros(len(matrix), dtype=torch.int), torch.zeros(()) if bias is None else bias

    def multiplied(x: Tensor) -> Tensor:
        scale = x.abs().amax(dim=1, keepdim=True).add_(1e-20)
        signed = (x * (127 / scale)).round_().to(torch.int8)
        low = signed.view(torch.uint8).bitwise_xor_(128)  # + 128: oneDNN is fast where the left factor is unsigned
        found = torch.ops.onednn.qlinear_pointwise(
            low, 1 / 127, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return torch.addcmul(added, found, scale, out=found)

    return multiplied


def chosen(asked: Precision | Literal["auto"], device: torch.device) -> Precision:
    """The precision of `precision=`; `auto` is the fastest that the device has.

    Raises:
        Mistake: the device has no products of the precision.
    """
    if asked == "auto":
        return next(known for known in ("int8", "bf16", "float32") if why_not(known, device) is None)
    if reason := why_not(asked, device):
        raise config.wrong("precision", asked, f"auto or float32, as {reason}")
    return asked


def why_not(precision: Precision, device: torch.device) -> str | None:
    """Why products of a precision cannot be had on a device, or None where they can."""
    on_cpu, on_gpu = device.type == "cpu", device.type == "cuda"
    if precision == "int8" and not (on_cpu and torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()):
        return "int8 needs a processor with VNNI"
    if precision == "bf16" and not ((on_cpu and bf16_on_cpu()) or (on_gpu and torch.cuda.is_bf16_supported(False))):
        return "bf16 needs a GPU or a processor that has it"
    return None
