"""Linear recurrences, all steps at once: c_t = a_t * c_{t-1} + b_t by a scan over blocks of time.

blocks     the steps inside a block one after the other, for all blocks at once, each as if it began at 0
ends       the blocks' last states are such a recurrence again, `blocks` times shorter
fix-up     what each block began with, times the product of a since then, is added to its steps

Its work is linear in time, and it needs no division or logarithm: products of a only ever shrink. On a GPU there are
about as many blocks as each has steps, so that few steps are each wide enough to fill it; on a CPU, where memory
bandwidth is the limit, there is a single block, with neither ends nor fix-up.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from throughtime.nn.cells.base import CellState, Matrices
from throughtime.nn.cells.linear import LinearCell
from throughtime.nn.engines.masks import Masks
from throughtime.nn.engines.parallel import before_each, restarted, settled
from throughtime.nn.products import linear


def scan(
    cell: LinearCell, inputs: Tensor, state: CellState, masks: Masks | None, matrices: Matrices
) -> tuple[Tensor, CellState]:
    """Inputs (batch, time, features) and a state -> outputs (batch, time, hidden) and the state after the last step."""
    dtype = cell.weight_input.dtype
    state = {name: state[name].to(dtype) for name in cell.states}
    initial, final = cell.initial_state(len(inputs)), {}
    weight: Tensor = cell.weight_input
    inputs = inputs.transpose(0, 1).to(dtype)
    seen = inputs = inputs.contiguous()
    if cell.window is not None:
        seen, final[cell.window] = _windows(inputs, state[cell.window], initial[cell.window], masks)
        weight = torch.cat([weight, matrices[0][0]], dim=1)
    gates = linear(seen, weight, cell.bias_input).to(dtype)
    a, b, *others = cell.coefficients(gates, inputs, *cell.vector_values())
    if masks is not None:
        a, b = restarted(a, b, initial[cell.carried], masks)
    carried = _Scan.apply(a, b, state[cell.carried])
    outputs, output = cell.output(carried, *others), cell.states[0]
    final |= {output: settled(outputs, state[output], initial[output], masks), cell.carried: carried[-1]}
    if masks is not None:
        outputs = torch.where(masks.running.t()[..., None], outputs, 0.0)
    return outputs.transpose(0, 1), final


def _windows(inputs: Tensor, start: Tensor, initial: Tensor, masks: Masks | None) -> tuple[Tensor, Tensor]:
    """Inputs (time, batch, features) side by side with what a window over them holds before each step; and what it
    holds after the last step."""
    parts, width = [inputs], inputs.shape[-1]
    for begun, anew in zip(start.split(width, dim=-1), initial.split(width, dim=-1), strict=True):
        parts.append(before_each(parts[-1], begun, anew, masks))
    return torch.cat(parts, dim=-1), settled(torch.cat(parts[:-1], dim=-1), start, initial, masks)


class _Scan(torch.autograd.Function):
    """a, b (time, batch, hidden) and c_0 (batch, hidden) -> c (time, batch, hidden). Its derivative is the scan from the
    end, dc_t = g_t + a_{t+1} dc_{t+1}, with da_t = dc_t c_{t-1} and db_t = dc_t."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor) -> Tensor:
        states = b.new_empty((len(b) + 1, *start.shape))
        states[0] = start
        states[1:] = b
        accumulate(states, a, block_length(states))
        ctx.save_for_backward(a, states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, states = ctx.saved_tensors
        found = above.flip(0)
        accumulate(found, a[1:].flip(0), block_length(found))
        found = found.flip(0)
        return found * states[:-1], found, a[0] * found[0]


def block_length(steps: Tensor) -> int:
    """How many steps (time, ...) a block has: all of them on a CPU, else the root of their number."""
    return len(steps) if steps.device.type == "cpu" else math.isqrt(len(steps) - 1) + 1


def accumulate(states: Tensor, a: Tensor, block: int) -> None:
    """In place, c_t += a_t * c_{t-1} from the second step on; states (time, ...), a (time - 1, ...) from the second on."""
    for step in range(1, block):
        here = states[step::block]
        here.addcmul_(a[step - 1 :: block], states[step - 1 :: block][: len(here)])
    if block >= len(states):
        return
    since = a[block - 1 :].clone()  # the products of a from each block's start, of all blocks but the first
    for step in range(1, block):
        here = since[step::block]
        here.mul_(since[step - 1 :: block][: len(here)])
    ends = states[block - 1 :: block]
    accumulate(ends, since[block - 1 :: block], math.isqrt(len(ends) - 1) + 1)
    for step in range(block - 1):
        here = states[block + step :: block]
        here.addcmul_(since[step::block], ends[: len(here)])
