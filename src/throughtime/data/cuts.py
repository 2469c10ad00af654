"""Where a pass over the columns of a text is cut into chunks: what `tbptt=` asks of the data.

off, checkpointed   |-----------------------------|   one chunk, as long as the columns
fixed               |------|------|------|------|-|
jittered            |-----|-------|---|------|----|   lengths drawn afresh each epoch, always as many
windows             |------|------|                   each chunk scores `stride` new steps, and reads `window` of them:
                       ----|------|------|            those before the new ones once more
"""

from typing import Any, NamedTuple

import numpy as np

from throughtime import config

# How often the base is whole, the spread of the lengths, the least of them (Merity et al. 2017, section 5).
BASE, SPREAD, SHORTEST = 0.95, 5, 5


class Cuts(NamedTuple):
    """Chunk i reads the steps from begins[i] to ends[i], and scores those after the end of the chunk before."""

    begins: np.ndarray[Any, Any]
    ends: np.ndarray[Any, Any]


def cuts(choice: config.Tbptt, height: int, seed: int, epoch: int) -> Cuts:
    """The chunks of an epoch over columns of `height` steps: the same on every rank, and as many in every epoch."""
    match choice:
        case config.Windows():
            ends = _every(choice.stride, height)
            return Cuts(np.maximum(0, ends - choice.window), ends)
        case config.FixedChunks():
            ends = _every(choice.chunk, height)
        case config.JitteredChunks():
            ends = _jittered(choice.chunk, height, seed, epoch)
        case _:
            ends = np.array([height])
    return Cuts(np.concatenate([[0], ends[:-1]]), ends)


def _every(steps: int, height: int) -> np.ndarray[Any, Any]:
    return np.minimum(np.arange(steps, height + steps, steps), height)


def _jittered(base: int, height: int, seed: int, epoch: int) -> np.ndarray[Any, Any]:
    """As many chunks as the first epoch's lengths give, stretched or shrunk by a hair so that they come out even."""
    count = int(np.searchsorted(_lengths(base, height, seed, 0).cumsum(), height)) + 1
    ends = _lengths(base, height, seed, epoch)[:count].cumsum()
    return np.round(ends * (height / ends[-1])).astype(int)


def _lengths(base: int, height: int, seed: int, epoch: int) -> np.ndarray[Any, Any]:
    """The lengths of Merity et al. 2017, enough for a column."""
    random = np.random.default_rng([seed, epoch])
    bases = np.where(random.random(height // SHORTEST + 1) < BASE, base, base / 2)
    return np.maximum(SHORTEST, random.normal(bases, SPREAD).astype(int))
