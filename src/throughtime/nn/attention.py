"""Attention of decoder states over the encoder's outputs; keys are computed once per source."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Attention(nn.Module, ABC):
    """Weights over the source, and the context vectors they make.

    a_ts = softmax_s(score(q_t, k_s)) over the source steps that count, c_t = sum_s a_ts m_s.
    """

    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.key = nn.Linear(width, hidden, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """(batch, source time, width) -> (batch, source time, hidden)."""
        keys: Tensor = self.key(memory)
        return keys

    @abstractmethod
    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(batch, time, hidden), (batch, source time, hidden) -> (batch, time, source time)."""

    def forward(self, queries: Tensor, keys: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Contexts (batch, time, width) and weights (batch, time, source time); `mask` (batch, source time) is true
        where the source counts."""
        scores = self.scores(queries, keys).masked_fill(~mask[:, None], -torch.inf)
        weights = torch.softmax(scores.float(), dim=-1).to(memory.dtype)
        return weights @ memory, weights


class DotAttention(Attention):
    """score(q, k) = q . W m (the "general" form of Luong et al. 2015, which lets the widths differ)."""

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return queries @ keys.transpose(1, 2)


class AdditiveAttention(Attention):
    """score(q, m) = v . tanh(Q q + W m + b) (Bahdanau et al. 2015)."""

    def __init__(self, hidden: int, width: int):
        super().__init__(hidden, width)
        self.query = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        scores: Tensor = self.score(torch.tanh(self.query(queries)[:, :, None] + keys[:, None]))
        return scores.squeeze(-1)
