"""The finished hypotheses of each sentence, kept with their own length apart from the open ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from throughtime.data.tokenizer import PAD
from throughtime.search.score import Hypothesis


@dataclass(frozen=True)
class Ranked:
    """Hypotheses of each sentence, best first; scores of -inf mark empty places.

    `score`, `log_probability`, `length`: (sentences, places); `tokens`: (sentences, places, time), eos included.
    """

    score: Tensor
    log_probability: Tensor
    length: Tensor
    tokens: Tensor

    @staticmethod
    def none(sentences: int, places: int, device: torch.device) -> "Ranked":
        """Empty places only."""
        empty = torch.full((sentences, places), -torch.inf, device=device)
        length = torch.zeros(sentences, places, dtype=torch.long, device=device)
        return Ranked(empty, empty, length, length[..., None][..., :0])

    @staticmethod
    def all_of(parts: Sequence["Ranked"]) -> "Ranked":
        """Those of all sentences, equally many of each."""
        width = max(part.tokens.shape[2] for part in parts)
        columns = ((part.score, part.log_probability, part.length, _widened(part.tokens, width)) for part in parts)
        return Ranked(*(torch.cat(column) for column in zip(*columns, strict=True)))

    def merged(self, other: "Ranked") -> "Ranked":
        """The best of both, in as many places as this one has."""
        score, best = torch.cat([self.score, other.score], dim=1).sort(dim=1, descending=True, stable=True)
        places = self.score.shape[1]
        best, width = best[:, :places], max(self.tokens.shape[2], other.tokens.shape[2])
        tokens = torch.cat([_widened(self.tokens, width), _widened(other.tokens, width)], dim=1)
        log_probability = torch.cat([self.log_probability, other.log_probability], dim=1).gather(1, best)
        length = torch.cat([self.length, other.length], dim=1).gather(1, best)
        return Ranked(score[:, :places], log_probability, length, at(tokens, best))

    def different(self) -> "Ranked":
        """Hypotheses of equal length, without those that an earlier group has found."""
        same = (self.tokens[:, :, None] == self.tokens[:, None]).all(dim=3)
        again = (same & (self.score > -torch.inf)[:, None]).tril(-1).any(dim=2)
        return replace(self, score=self.score.masked_fill(again, -torch.inf))

    def of(self, sentences: Tensor) -> "Ranked":
        """The hypotheses of some sentences."""
        columns = (self.score, self.log_probability, self.length, self.tokens)
        return Ranked(*(column[sentences] for column in columns))

    def rows(self, finished: bool) -> list[list[Hypothesis]]:
        """Each sentence's hypotheses as plain data."""
        columns = (self.tokens, self.log_probability, self.score, self.length)
        sentences = zip(*(column.tolist() for column in columns), strict=True)
        return [
            [
                Hypothesis(tokens[: length - finished], total, score, length, finished)
                for tokens, total, score, length in zip(*sentence, strict=True)
                if score > -torch.inf
            ]
            for sentence in sentences
        ]


def at(tokens: Tensor, places: Tensor) -> Tensor:
    """tokens (sentences, from, time), places (sentences, to) -> (sentences, to, time)."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[2]))


def grown(tokens: Tensor, parents: Tensor, fresh: Tensor) -> Tensor:
    """Tokens (sentences, from, time), parents and fresh tokens (sentences, to) -> the parents' tokens, each followed by
    a fresh one, (sentences, to, time + 1)."""
    return torch.cat([at(tokens, parents), fresh[..., None]], dim=2)


def _widened(tokens: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(tokens, (0, width - tokens.shape[2]), value=PAD)
