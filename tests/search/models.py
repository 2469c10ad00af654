"""Models whose every sequence can be scored by hand, and the enumeration of all that they can produce."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from throughtime import config
from throughtime.data.tokenizer import EOS
from throughtime.search import Demands, search
from throughtime.search.score import Hypothesis
from throughtime.search.stepper import Scores

CODES = 4096
SOURCE = 3  # source tokens that a `Table` attends to


class Table:
    """A random model: the next token's distribution, and where it looks, hang on the whole history, through a hash of it."""

    def __init__(self, vocabulary: int, seed: int, eos_bias: float = 0.0, sharpness: float = 2.0):
        random = torch.Generator().manual_seed(seed)
        self.vocabulary = vocabulary
        self.logits = sharpness * torch.randn(CODES, vocabulary, generator=random)
        self.logits[:, EOS] += eos_bias
        self.attention = torch.softmax(torch.randn(CODES, SOURCE, generator=random), dim=-1)
        self.steps = 0

    def start(self, batch: list[list[int]]) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(batch), dtype=torch.long), torch.tensor([row[0] for row in batch])

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Scores, Tensor]:
        self.steps += 1
        state = (state * 31 + tokens.flatten() + 1) % CODES
        logits = self.logits[state].view(*tokens.shape, -1)
        attention = self.attention[state].view(*tokens.shape, -1)
        return Scores(torch.log_softmax(logits, -1), attention), state

    def reorder(self, state: Tensor, rows: Tensor, sentences: Tensor | None = None) -> Tensor:
        return state[rows.flatten()]

    def path(self, start: int, tokens: list[int]) -> tuple[list[float], Tensor]:
        """The log-probability of each token behind a start, in plain steps, and the attention that the source got."""
        last, state = self.start([[start]])
        found, covered = [], torch.zeros(SOURCE)
        for token in tokens:
            state = (state * 31 + last + 1) % CODES
            found.append(float(torch.log_softmax(self.logits[state[0]].double(), dim=-1)[token]))
            covered, last = covered + self.attention[state[0]], torch.tensor([token])
        return found, covered


class Paths(NamedTuple):
    """Sequences of one length: tokens (paths, length), log-probability (paths,), attention got (paths, source)."""

    tokens: Tensor
    log_probability: Tensor
    covered: Tensor

    def ranked(self, choice: config.Beam, finished: bool) -> list[Hypothesis]:
        """As hypotheses, scored by the definition."""
        length = self.tokens.shape[1]
        divisor = {"none": 1.0, "length": length**choice.alpha, "gnmt": ((5 + length) / 6) ** choice.alpha}
        unseen = self.covered.clamp(1e-6, 1).log().sum(dim=1)
        score = self.log_probability / divisor[choice.normalisation] + choice.reward * length + choice.coverage * unseen
        best = score.argsort(descending=True)[: choice.n_best]
        rows = zip(self.tokens[best].tolist(), self.log_probability[best].tolist(), score[best].tolist(), strict=True)
        return [Hypothesis(row[: length - finished], total, worth, length, finished) for row, total, worth in rows]


def everything(model: Table, start: int, longest: int) -> tuple[list[Paths], Paths]:
    """Every sequence of up to `longest` tokens that ends in eos, by length; and those that do not end."""
    finished, codes = [], torch.tensor([start])
    tokens, totals = torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, dtype=torch.double)
    covered, last = torch.zeros(1, SOURCE), torch.zeros(1, dtype=torch.long)
    for _ in range(longest):
        codes = (codes * 31 + last + 1) % CODES
        steps, covered = torch.log_softmax(model.logits[codes].double(), dim=-1), covered + model.attention[codes]
        ended = torch.cat([tokens, torch.full((len(tokens), 1), EOS)], dim=1)
        finished.append(Paths(ended, totals + steps[:, EOS], covered))
        rest = torch.tensor([token for token in range(model.vocabulary) if token != EOS])
        last = rest.repeat(len(tokens))
        codes, covered, tokens = (part.repeat_interleave(len(rest), dim=0) for part in (codes, covered, tokens))
        tokens, totals = torch.cat([tokens, last[:, None]], dim=1), (totals[:, None] + steps[:, rest]).flatten()
    return finished, Paths(tokens, totals, covered)


def best_of(paths: tuple[list[Paths], Paths], choice: config.Beam) -> list[Hypothesis]:
    """The `n_best` of all sequences, the finished ones first."""
    finished = [found for length in paths[0] for found in length.ranked(choice, True)]
    allowed = [found for found in finished if found.length >= choice.min_length]
    return [*sorted(allowed, key=lambda h: -h.score), *paths[1].ranked(choice, False)][: choice.n_best]


LIMITS = {"min_length": 0, "repetition": 1.0, "block_ngrams": None, "banned": []}


def beam(max_length: int, size: int, **settings: object) -> config.Beam:
    """Beam search with the given settings and nothing else turned on."""
    plain = {"normalisation": "length", "alpha": 1.0, "reward": 0.0, "coverage": 0.0, "stop": "finished"}
    plain |= {"groups": 1, "diversity": 0.0, "contains": []}
    named = {"name": "beam", "max_length": max_length, "size": size, "finished": None, "n_best": 1}
    return config.check(LIMITS | plain | named | settings, config.Beam)


def greedy(max_length: int, **settings: object) -> config.Greedy:
    return config.check(LIMITS | {"name": "greedy", "max_length": max_length} | settings, config.Greedy)


def sampling(max_length: int, samples: int, **settings: object) -> config.Sample:
    plain = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None, "typical": None}
    named = {"name": "sample", "max_length": max_length, "samples": samples}
    return config.check(LIMITS | plain | named | settings, config.Sample)


def run(model: object, starts: list[int], choice: config.Search, **demands: object) -> list[list[Hypothesis]]:
    """The search over a batch of these starts."""
    batch = [[start] for start in starts]
    return search(choice, model, batch, torch.Generator().manual_seed(0), Demands(**demands))


def same(ours: list[Hypothesis], theirs: list[Hypothesis], tolerance: float = 1e-5) -> None:
    """Equal hypotheses in the same order."""
    assert [(h.tokens, h.length, h.finished) for h in ours] == [(h.tokens, h.length, h.finished) for h in theirs]
    assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], abs=tolerance, rel=1e-6)
    assert [h.log_probability for h in ours] == pytest.approx([h.log_probability for h in theirs], abs=tolerance)
