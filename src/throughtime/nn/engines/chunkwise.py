"""The mLSTM chunk by chunk: inside a chunk all steps at once, as attention; the state is carried from chunk to chunk.

With F_t the sum of log f up to step t of a chunk, and m, C, n what the chunk begins with, the recurrence unrolled is

D_ts = F_t - F_s + a_i,s for s <= t         the logarithm of what step t retains of what step s wrote
m_t = max(F_t + m, max_s D_ts)
C_t q_t = sum_s exp(D_ts - m_t) (k_s . q_t) v_s + exp(F_t + m - m_t) C q_t
n_t . q_t = sum_s exp(D_ts - m_t) (k_s . q_t) + exp(F_t + m - m_t) n . q_t

(Beck et al. 2024, appendix A.3, which has it for a single chunk). No exponent is above 0, and the sums F never extend
beyond a chunk. n is what C would be if every v were 1, so it is stored in C as one more row. Only m, one number per
head, is computed chunk by chunk; C is then a linear recurrence over chunks, and all else is done for all chunks at
once.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.nn.cells.base import CellState
from throughtime.nn.cells.mlstm import Mlstm, normaliser
from throughtime.nn.engines.masks import Masks
from throughtime.nn.engines.parallel import settled

TOGETHER = 32  # chunks of all rows processed together: enough to fill a kernel, and few enough for a cache
CHUNK = 32  # steps: longer chunks mean more work per step, shorter ones more states kept for the derivative


class Steps(NamedTuple):
    """What the steps of all chunks take and write, (chunks, batch, heads, steps, ...): q and k (..., d), v (..., d + 1)
    with a 1 appended; a_i, log f (...); and the step in the chunk of the latest reset, -1 before any."""

    q: Tensor
    k: Tensor
    v: Tensor
    a_i: Tensor
    log_f: Tensor
    since: Tensor

    def split(self, chunks: int) -> "Iterator[Steps]":
        """Some chunks at a time."""
        return map(Steps._make, zip(*(part.split(chunks) for part in self), strict=True))


def chunkwise(cell: Mlstm, inputs: Tensor, state: CellState, masks: Masks | None) -> tuple[Tensor, CellState]:
    """Inputs (batch, time, features) and a state -> outputs (batch, time, hidden) and the state after the last step."""
    dtype, steps = cell.weight_input.dtype, inputs.shape[1]
    q, k, v, o, a_i, log_f = cell.parts(cell.project(inputs).to(dtype))
    resets = torch.zeros(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
    if masks is not None:
        running, resets = masks.running[..., None], masks.resets
        a_i, log_f = torch.where(running, a_i, -torch.inf), torch.where(running, log_f, 0.0)
    memory, m, read = _memory(state, cell.heads).to(dtype), state["m"].to(dtype), []
    with torch.autocast(inputs.device.type, enabled=False):
        for some in _chunked(q, k, v, a_i, log_f, resets).split(max(1, TOGETHER // len(inputs))):
            found, memory, m = _through(some, memory, m)
            read.append(found)
    outputs = o * torch.cat(read).permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)[:, :steps]
    h = settled(outputs.transpose(0, 1), state["h"].to(dtype), torch.zeros_like(outputs[:, 0]), masks)
    outputs = outputs if masks is None else torch.where(masks.running[..., None], outputs, 0.0)
    return outputs, {"h": h, "C": memory[:, :, :-1].flatten(1), "n": memory[:, :, -1].flatten(1), "m": m}


def _memory(state: CellState, heads: int) -> Tensor:
    """C with n as one more row, (batch, heads, d + 1, d)."""
    n = state["n"].unflatten(-1, (heads, 1, -1))
    return torch.cat([state["C"].unflatten(-1, (heads, -1, n.shape[-1])), n], dim=2)


def _chunked(q: Tensor, k: Tensor, v: Tensor, a_i: Tensor, log_f: Tensor, resets: Tensor) -> Steps:
    """From (batch, time, heads, ...), resets (batch, time); padded with steps that write and forget nothing."""
    length = -(-q.shape[1] // -(-q.shape[1] // CHUNK))  # equal, so that few steps are missing from the last
    missing = -q.shape[1] % length

    def cut(part: Tensor, filler: float = 0.0) -> Tensor:
        """(batch, time, heads, ...) -> (chunks, batch, heads, steps, ...)."""
        whole = F.pad(part, (*[0, 0] * (part.dim() - 2), 0, missing), value=filler) if missing else part
        return whole.unflatten(1, (-1, length)).movedim((1, 3), (0, 2))

    begun = cut(resets[..., None].to(q.dtype)) > 0
    since = torch.where(begun, torch.arange(length, device=q.device), -1).cummax(dim=-1).values
    return Steps(cut(q), cut(k), cut(F.pad(v, (0, 1), value=1.0)), cut(a_i, -torch.inf), cut(log_f), since)


def _through(steps: Steps, memory: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Memory (batch, heads, d + 1, d) and m (batch, heads) before the first chunk -> what is read, like v without the 1s,
    and both after the last chunk."""
    decay, faded = _decays(steps)
    carried, strongest, begun_with = steps.since < 0, decay.amax(-1), []
    for goes_on, kept, written in zip(*(part[..., -1] for part in (carried, faded, strongest)), strict=True):
        begun_with.append(m)
        m = torch.maximum(kept + torch.where(goes_on, m, 0.0), written)  # after a reset nothing is left, and m = 0
    start = faded + torch.where(carried, torch.stack(begun_with)[..., None], 0.0)
    stabiliser = torch.maximum(start, strongest)
    weights, old = torch.exp(decay - stabiliser[..., None]), torch.where(carried, torch.exp(start - stabiliser), 0.0)

    memories = []
    writes = steps.v.transpose(-1, -2) @ (weights[..., -1, :, None] * steps.k)
    for kept, written in zip(old[..., -1, None, None], writes, strict=True):
        memories.append(memory)
        memory = torch.addcmul(written, kept, memory)
    scores = weights * (steps.q @ steps.k.transpose(-1, -2))
    read = scores @ steps.v + old[..., None] * (steps.q @ torch.stack(memories).transpose(-1, -2))
    return read[..., :-1] / normaliser(read[..., -1], stabiliser), memory, m


def _decays(steps: Steps) -> tuple[Tensor, Tensor]:
    """D (chunks, batch, heads, steps t, steps s), and for each step the logarithm of what it retains of the state that
    its chunk or, after a reset, its row started with (chunks, batch, heads, steps)."""
    total, since = steps.log_f.cumsum(-1), steps.since
    decay = total[..., :, None] + (steps.a_i - total)[..., None, :]
    seen = (since[..., :, None] == since[..., None, :]).tril()
    at_reset = (total - steps.log_f).gather(-1, since.clamp(min=0).expand_as(total))
    return torch.where(seen, decay, -torch.inf), total - torch.where(since < 0, 0.0, at_reset)
