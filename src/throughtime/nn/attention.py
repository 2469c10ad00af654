"""Attention over the encoder's outputs: weights over the source, and the contexts they make."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Source(NamedTuple):
    """A source as attention sees it, computed once: `keys` and `values` (batch, source time, their width), and `mask`
    (batch, source time), true where it counts."""

    keys: Tensor
    values: Tensor
    mask: Tensor


class Attention(nn.Module, ABC):
    """a_ts = softmax_s(score(q_t, k_s)) over the source steps that count, c_t = sum_s a_ts v_s.

    `width`: of a context. Keys and values are the encoder's outputs unless a form makes them otherwise.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def keys(self, memory: Tensor) -> Tensor:
        """(batch, source time, encoder width) -> (batch, source time, key width)."""
        return memory

    def values(self, memory: Tensor) -> Tensor:
        """(batch, source time, encoder width) -> (batch, source time, value width)."""
        return memory

    def unseen(self, memory: Tensor) -> Tensor:
        """What is known of earlier steps' weights before the first: (batch, source time, channels), no channel unless the
        scores depend on them."""
        return memory.new_zeros(*memory.shape[:2], 0)

    @abstractmethod
    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(batch, time, hidden), (batch, source time, key width) -> (batch, time, source time)."""

    def forward(self, queries: Tensor, source: Source, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (batch, time, hidden) -> contexts (batch, time, width), and what is now known of the weights."""
        return weights(self.scores(queries, source.keys), source.mask) @ source.values, seen


def weights(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores (batch, ..., source time) -> weights of sum 1 over the steps of `mask` (batch, source time)."""
    mask = mask.view(len(mask), *[1] * (scores.dim() - 2), -1)
    dtype = torch.promote_types(scores.dtype, torch.float32)
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1, dtype=dtype).to(scores.dtype)


class DotAttention(Attention):
    """score(q, m) = q . m (Luong et al. 2015); decoder and encoder are equally wide."""

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return queries @ keys.transpose(1, 2)


class GeneralAttention(DotAttention):
    """score(q, m) = q . W m (Luong et al. 2015)."""

    def __init__(self, hidden: int, width: int):
        super().__init__(width)
        self.key = nn.Linear(width, hidden, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        keys: Tensor = self.key(memory)
        return keys


class AdditiveAttention(Attention):
    """score(q, m) = v . tanh(Q q + W m + b) (Bahdanau et al. 2015)."""

    def __init__(self, hidden: int, width: int):
        super().__init__(width)
        self.key = nn.Linear(width, hidden, bias=False)
        self.query = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        keys: Tensor = self.key(memory)
        return keys

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        scores: Tensor = self.score(torch.tanh(self.query(queries)[:, :, None] + keys[:, None]))
        return scores.squeeze(-1)


class LocationAttention(AdditiveAttention):
    """score_t(q, m_s) = v . tanh(Q q + W m_s + U f_ts + b), f_t = F * [a_{t-1}; sum_{i<t} a_i] (Chorowski et al. 2015, eq. 8;
    the sum is the coverage of Tu et al. 2016).

    * is a convolution along the source with `channels` filters of `window` steps; both rows are zero before the first step.
    """

    def __init__(self, hidden: int, width: int, channels: int, window: int):
        super().__init__(hidden, width)
        self.filter = nn.Conv1d(2, channels, window, padding="same", bias=False)
        self.location = nn.Linear(channels, hidden, bias=False)

    def unseen(self, memory: Tensor) -> Tensor:
        return memory.new_zeros(*memory.shape[:2], 2)

    def forward(self, queries: Tensor, source: Source, seen: Tensor) -> tuple[Tensor, Tensor]:
        found = []
        for query in queries.split(1, dim=1):
            located = self.location(self.filter(seen.transpose(1, 2)).transpose(1, 2))
            last = weights(self.scores(query, source.keys + located), source.mask)
            found.append(last @ source.values)
            coverage = seen[..., 1] + last[:, 0]
            seen = torch.stack([last[:, 0], coverage], dim=-1).to(seen.dtype)
        return torch.cat(found, dim=1), seen


class MultiheadAttention(Attention):
    """Scaled dot products in `heads` parts side by side (Vaswani et al. 2017, section 3.2.2).

    q = Q q_t, k_s = W m_s, v_s = V m_s, each of `hidden` units cut into heads of d; score = q . k_s / sqrt(d); c_t = O of
    the heads' contexts side by side.
    """

    def __init__(self, hidden: int, width: int, heads: int):
        super().__init__(hidden)
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(hidden, hidden), nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, hidden)

    def keys(self, memory: Tensor) -> Tensor:
        keys: Tensor = self.key(memory)
        return keys

    def values(self, memory: Tensor) -> Tensor:
        values: Tensor = self.value(memory)
        return values

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(batch, heads, time, source time)."""
        query, key = self._heads(self.query(queries)), self._heads(keys)
        return query @ key.transpose(2, 3) / query.shape[-1] ** 0.5

    def forward(self, queries: Tensor, source: Source, seen: Tensor) -> tuple[Tensor, Tensor]:
        read = weights(self.scores(queries, source.keys), source.mask) @ self._heads(source.values)
        return self.out(read.transpose(1, 2).flatten(2)), seen

    def _heads(self, sequence: Tensor) -> Tensor:
        """(batch, time, hidden) -> (batch, heads, time, d)."""
        return sequence.unflatten(-1, (self.heads, -1)).transpose(1, 2)
