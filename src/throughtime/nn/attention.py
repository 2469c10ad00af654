"""Attention over the encoder's outputs: weights over the source, and the contexts they make."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime.nn.convolution import Convolution
from throughtime.nn.products import Linear


class Attended(NamedTuple):
    """Sources as attention sees them, computed once: `keys` and `values` (sentences, source time, their width), and `mask`
    (sentences, source time), true where they count."""

    keys: Tensor
    values: Tensor
    mask: Tensor


class Looked(NamedTuple):
    """What queries have found: `context` (rows, time, width), what each row has `seen` by now (rows, source time, channels),
    and the weights, `attention` (rows, time, source time)."""

    context: Tensor
    seen: Tensor
    attention: Tensor


class Attention(nn.Module, ABC):
    """a_ts = softmax_s(score(q_t, k_s)) over the source steps that count, c_t = sum_s a_ts v_s.

    `width`: of a context. `key` and `value` turn the encoder's outputs into keys and values, (sentences, source time,
    their width); they are the identity unless a subclass has its own.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.key: nn.Module = nn.Identity()
        self.value: nn.Module = nn.Identity()

    def unseen(self, memory: Tensor) -> Tensor:
        """What is known before the first step about where attention has looked: (sentences, source time, channels),
        with no channels unless the scores depend on it."""
        return memory.new_zeros(*memory.shape[:2], 0)

    @abstractmethod
    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(sentences, queries, hidden), (sentences, source time, key width) -> (sentences, queries, source time)."""

    def forward(self, queries: Tensor, source: Attended, seen: Tensor) -> Looked:
        """Queries (rows, time, hidden), a sentence's hypotheses in consecutive rows, and what each row has seen (rows, source
        time, channels)."""
        rows, time, _ = queries.shape
        by_sentence = queries.reshape(len(source.mask), -1, queries.shape[-1])
        weights = masked_softmax(self.scores(by_sentence, source.keys), source.mask)
        contexts, attention = self.contexts(weights, source.values)
        return Looked(contexts.view(rows, time, -1), seen, attention.view(rows, time, -1))

    def contexts(self, weights: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Weights in the shape of `scores`, values (sentences, source time, value width) -> contexts (sentences,
        queries, width), and where each query looked, (sentences, queries, source time)."""
        return weights @ values, weights


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores (sentences, ..., source time) -> weights of sum 1 over the steps of `mask` (sentences, source time)."""
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
        self.key = Linear(width, hidden, bias=False)


class AdditiveAttention(Attention):
    """score(q, m) = v . tanh(Q q + W m + b) (Bahdanau et al. 2015)."""

    def __init__(self, hidden: int, width: int):
        super().__init__(width)
        self.key = Linear(width, hidden, bias=False)
        self.query = Linear(hidden, hidden)
        self.score = Linear(hidden, 1, bias=False)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return self._compared(queries, keys[:, None])

    def _compared(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Keys (sentences, queries or 1, source time, hidden)."""
        scores: Tensor = self.score(torch.tanh(self.query(queries)[:, :, None] + keys))
        return scores.squeeze(-1)


class LocationAttention(AdditiveAttention):
    """score_t(q, m_s) = v . tanh(Q q + W m_s + U f_ts + b), f_t = F * [a_{t-1}; sum_{i<t} a_i] (Chorowski et al. 2015, eq. 8;
    the sum is the coverage of Tu et al. 2016).

    * is a convolution along the source with `channels` filters of `window` steps; both rows are zero before the first step.
    """

    def __init__(self, hidden: int, width: int, channels: int, window: int):
        super().__init__(hidden, width)
        self.filter = Convolution(2, channels, window, bias=False)
        self.location = Linear(channels, hidden, bias=False)

    def unseen(self, memory: Tensor) -> Tensor:
        return memory.new_zeros(*memory.shape[:2], 2)

    def forward(self, queries: Tensor, source: Attended, seen: Tensor) -> Looked:
        sentences, contexts, attention = len(source.mask), [], []
        for query in queries.split(1, dim=1):
            located = self.location(self.filter(seen.transpose(1, 2)).transpose(1, 2))
            keys = source.keys[:, None] + located.view(sentences, -1, *located.shape[1:])
            weights = masked_softmax(self._compared(query.view(sentences, -1, query.shape[-1]), keys), source.mask)
            contexts.append((weights @ source.values).view(len(query), 1, -1))
            attention.append(weights.view(len(query), 1, -1))
            seen = torch.stack([attention[-1][:, 0], seen[..., 1] + attention[-1][:, 0]], dim=-1)
        return Looked(torch.cat(contexts, dim=1), seen, torch.cat(attention, dim=1))


class MultiheadAttention(Attention):
    """Scaled dot products in `heads` parallel parts (Vaswani et al. 2017, section 3.2.2).

    q = Q q_t, k_s = W m_s, v_s = V m_s, each of `hidden` units split into heads of d; score = q . k_s / sqrt(d);
    c_t = O times the heads' contexts, concatenated.
    """

    def __init__(self, hidden: int, width: int, heads: int):
        super().__init__(hidden)
        self.heads = heads
        self.query, self.key, self.value = Linear(hidden, hidden), Linear(width, hidden), Linear(width, hidden)
        self.out = Linear(hidden, hidden)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(sentences, heads, queries, source time)."""
        query, key = self._heads(self.query(queries)), self._heads(keys)
        return query @ key.transpose(2, 3) / query.shape[-1] ** 0.5

    def contexts(self, weights: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Where a query looked is the mean over the heads."""
        return self.out((weights @ self._heads(values)).transpose(1, 2).flatten(2)), weights.mean(1)

    def _heads(self, sequence: Tensor) -> Tensor:
        """(sentences, time, hidden) -> (sentences, heads, time, d)."""
        return sequence.unflatten(-1, (self.heads, -1)).transpose(1, 2)
