"""One token at a time: greedy, or drawn from a distribution that may be sharpened or cut first."""

from collections.abc import Callable

import torch
from torch import Tensor

from throughtime import config
from throughtime.data.tokenizer import EOS
from throughtime.search.score import Hypothesis
from throughtime.search.stepper import Batch, Stepper

Pick = Callable[[Tensor], Tensor]  # log-probabilities (rows, vocabulary) -> tokens (rows,)


def greedy(stepper: Stepper, batch: Batch, choice: config.Greedy) -> list[list[Hypothesis]]:
    """The most probable token at each step; one hypothesis a row."""
    return [[found] for found in _extend(stepper, batch, 1, _most_probable, choice.max_length)]


def sample(stepper: Stepper, batch: Batch, choice: config.Sample, random: torch.Generator) -> list[list[Hypothesis]]:
    """Ancestral sampling; `samples` hypotheses a row, the most probable first.

    `random` lives on the CPU, so that a seed means the same on every device.
    """

    def draw(log_probabilities: Tensor) -> Tensor:
        kept = keep_top_p(keep_top_k(log_probabilities / choice.temperature, choice.top_k), choice.top_p)
        return torch.multinomial(torch.softmax(kept, dim=-1).cpu(), 1, generator=random)[:, 0].to(kept.device)

    drawn = _extend(stepper, batch, choice.samples, draw, choice.max_length)
    rows = [drawn[start : start + choice.samples] for start in range(0, len(drawn), choice.samples)]
    return [sorted(row, key=lambda hypothesis: -hypothesis.score) for row in rows]


def keep_top_k(logits: Tensor, k: int | None) -> Tensor:
    """All but the `k` largest of each row become -inf; among equals so many stay that there are `k`."""
    if k is None or k >= logits.shape[-1]:
        return logits
    values, places = logits.topk(k, dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(-1, places, values)


def keep_top_p(logits: Tensor, p: float | None) -> Tensor:
    """The nucleus stays (Holtzman et al. 2020): the fewest most probable tokens whose mass is at least `p`."""
    if p is None:
        return logits
    values, places = logits.sort(dim=-1, descending=True)
    mass = torch.softmax(values, dim=-1).cumsum(dim=-1)
    before = torch.cat([torch.zeros_like(mass[..., :1]), mass[..., :-1]], dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(-1, places, values.masked_fill(before >= p, -torch.inf))


def _most_probable(log_probabilities: Tensor) -> Tensor:
    return log_probabilities.argmax(dim=-1)


@torch.no_grad()
def _extend(stepper: Stepper, batch: Batch, copies: int, pick: Pick, max_length: int) -> list[Hypothesis]:
    """Extends `copies` of each row until eos or `max_length` tokens, eos included."""
    tokens, state = stepper.start(batch)
    rows = torch.arange(len(tokens), device=tokens.device).repeat_interleave(copies)
    tokens, state = tokens[rows], stepper.reorder(state, rows)
    total = torch.zeros(len(rows), device=tokens.device)
    open_ = torch.ones_like(total, dtype=torch.bool)
    history: list[Tensor] = []
    while open_.any() and len(history) < max_length:
        log_probabilities, state = stepper.step(tokens, state)
        tokens = torch.where(open_, pick(log_probabilities), EOS)
        total += torch.where(open_, log_probabilities.gather(-1, tokens[:, None])[:, 0], 0.0)
        open_ &= tokens != EOS
        history.append(tokens)
    return [
        _hypothesis(row, found) for row, found in zip(torch.stack(history, dim=1).tolist(), total.tolist(), strict=True)
    ]


def _hypothesis(row: list[int], log_probability: float) -> Hypothesis:
    finished = EOS in row
    tokens = row[: row.index(EOS)] if finished else row
    return Hypothesis(tokens, log_probability, log_probability, len(tokens) + finished, finished)
