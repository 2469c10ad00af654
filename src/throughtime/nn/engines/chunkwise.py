"""The mLSTM chunk by chunk: inside a chunk all steps at once, as attention; from chunk to chunk its state goes on.

With F_t the sum of log f up to step t of a chunk, and m, C, n what the chunk begins with, the recurrence unrolled is

D_ts = F_t - F_s + a_i,s for s <= t         the logarithm of what step t still has of what step s wrote
m_t = max(F_t + m, max_s D_ts)
C_t q_t = sum_s exp(D_ts - m_t) (k_s . q_t) v_s + exp(F_t + m - m_t) C q_t
n_t . q_t = sum_s exp(D_ts - m_t) (k_s . q_t) + exp(F_t + m - m_t) n . q_t

(Beck et al. 2024, appendix A.3, which has it for a single chunk). No exponent is above 0, and the sums F never reach
beyond a chunk.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.nn.cells.base import CellState
from throughtime.nn.cells.mlstm import Mlstm, normaliser
from throughtime.nn.engines.masks import Masks, settled

CHUNK = 32  # steps: the longer, the more work for each; the shorter, the more states kept for the derivative


class Memory(NamedTuple):
    """What goes on from chunk to chunk: C (batch, heads, values, keys), n (batch, heads, keys), m (batch, heads)."""

    matrix: Tensor
    keys: Tensor
    stabiliser: Tensor


def chunkwise(cell: Mlstm, inputs: Tensor, state: CellState, masks: Masks | None) -> tuple[Tensor, CellState]:
    """Inputs (batch, time, features) and a state -> outputs (batch, time, hidden) and the state after the last step."""
    dtype, heads = cell.weight_input.dtype, cell.heads
    q, k, v, o, a_i, log_f = cell.parts(cell.project(inputs).to(dtype))
    resets = torch.zeros(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
    if masks is not None:
        running, resets = masks.running[..., None], masks.resets
        a_i, log_f = torch.where(running, a_i, -torch.inf), torch.where(running, log_f, 0.0)
    n, m = state["n"].to(dtype).unflatten(-1, (heads, -1)), state["m"].to(dtype)
    memory = Memory(state["C"].to(dtype).unflatten(-1, (heads, n.shape[-1], -1)), n, m)
    read = []
    with torch.autocast(inputs.device.type, enabled=False):
        by_head = [part.transpose(1, 2).split(CHUNK, dim=2) for part in (q, k, v, a_i, log_f)]
        for chunk in zip(*by_head, resets.split(CHUNK, dim=1), strict=True):
            found, memory = _chunk(memory, *chunk)
            read.append(found)
    outputs = o * torch.cat(read, dim=2).transpose(1, 2).flatten(-2)
    h = settled(outputs.transpose(0, 1), state["h"].to(dtype), torch.zeros_like(outputs[:, 0]), masks)
    outputs = outputs if masks is None else torch.where(masks.running[..., None], outputs, 0.0)
    return outputs, {"h": h, "C": memory.matrix.flatten(1), "n": memory.keys.flatten(1), "m": memory.stabiliser}


def _chunk(
    before: Memory, q: Tensor, k: Tensor, v: Tensor, a_i: Tensor, log_f: Tensor, resets: Tensor
) -> tuple[Tensor, Memory]:
    """q, k, v (batch, heads, time, d), a_i, log f (batch, heads, time), resets (batch, time) -> what is read, like v."""
    since, log_start = _beginnings(log_f, resets, before.stabiliser)
    total = log_f.cumsum(-1)
    decay = total[..., :, None] + (a_i - total)[..., None, :]
    seen = (since[:, :, None] == since[:, None, :]).tril()[:, None]
    decay = torch.where(seen, decay, -torch.inf)
    m = torch.maximum(log_start, decay.amax(-1))
    weights = torch.exp(decay - m[..., None])
    old = torch.where(since[:, None] < 0, torch.exp(log_start - m), 0.0)[..., None]  # a row that began anew has none
    scores = weights * (q @ k.transpose(-1, -2))
    read = scores @ v + old * (q @ before.matrix.transpose(-1, -2))
    weight = scores.sum(-1) + (old * q @ before.keys[..., None]).squeeze(-1)
    written, kept = weights[:, :, -1, :, None] * k, old[:, :, -1]
    matrix = v.transpose(-1, -2) @ written + kept[..., None] * before.matrix
    return read / normaliser(weight, m), Memory(matrix, written.sum(-2) + kept * before.keys, m[..., -1])


def _beginnings(log_f: Tensor, resets: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """For each step the last reset up to it (batch, time), -1 where none is in the chunk; and the logarithm of what it still
    has of the state it began with then (batch, heads, time), which after a reset is 0 with a stabiliser of 0."""
    steps = torch.arange(resets.shape[1], device=resets.device)
    since = torch.where(resets, steps, -1).cummax(dim=1).values
    total = log_f.cumsum(-1)
    at_reset = (total - log_f).gather(-1, since.clamp(min=0)[:, None].expand_as(total))
    return since, torch.where(since[:, None] < 0, total + m[..., None], total - at_reset)
