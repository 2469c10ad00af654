"""One token at a time: greedy, or drawn from a distribution that may be sharpened or truncated first."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import config
from throughtime.data.tokenizer import EOS
from throughtime.nn.token_draw import token_at
from throughtime.search.rules import Demands, rules
from throughtime.search.score import Hypothesis
from throughtime.search.stepper import Batch, Stepper

Pick = Callable[[Tensor], Tensor]  # log-probabilities (sentences, width, vocabulary) -> tokens (sentences, width)


def greedy(stepper: Stepper, batch: Batch, choice: config.Greedy, demands: Demands) -> list[list[Hypothesis]]:
    """The most probable token at each step; one hypothesis per row."""
    return _rollout(stepper, batch, 1, _most_probable, choice, demands)


def _most_probable(steps: Tensor) -> Tensor:
    return steps.argmax(dim=-1)


def sample(
    stepper: Stepper, batch: Batch, choice: config.Sample, demands: Demands, random: torch.Generator
) -> list[list[Hypothesis]]:
    """Ancestral sampling; `samples` hypotheses per row, the most probable first.

    `random` is on the CPU, so that a seed means the same on every device.
    """

    def draw(steps: Tensor) -> Tensor:
        uniform = torch.rand(*steps.shape[:2], 1, dtype=torch.float64, generator=random)
        return token_at(cut(steps / choice.temperature, choice), uniform)[..., 0]

    rows = _rollout(stepper, batch, choice.samples, draw, choice, demands)
    return [sorted(row, key=lambda hypothesis: -hypothesis.score) for row in rows]


def cut(logits: Tensor, choice: config.Sample) -> Tensor:
    """All but the tokens that may be drawn become -inf; (..., vocabulary). Each cut sees what the previous one left."""
    logits = keep_top_p(keep_top_k(logits, choice.top_k), choice.top_p)
    return keep_typical(keep_min_p(logits, choice.min_p), choice.typical)


def keep_top_k(logits: Tensor, k: int | None) -> Tensor:
    """The `k` largest of each row stay, `k` even where there are ties."""
    if k is None or k >= logits.shape[-1]:
        return logits
    values, places = logits.topk(k, dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(-1, places, values)


def keep_top_p(logits: Tensor, p: float | None) -> Tensor:
    """The nucleus stays (Holtzman et al. 2020): the fewest most probable tokens whose mass is at least `p`."""
    return logits if p is None else _keep_mass(logits, -logits, p)


def keep_min_p(logits: Tensor, share: float | None) -> Tensor:
    """Tokens at least `share` as probable as the most probable one stay (Nguyen et al. 2024)."""
    if not share:
        return logits
    lowest = logits.amax(dim=-1, keepdim=True) + torch.tensor(share).log()
    return logits.masked_fill(logits < lowest, -torch.inf)


def keep_typical(logits: Tensor, mass: float | None) -> Tensor:
    """The fewest tokens of this mass whose information is nearest to the entropy stay (Meister et al. 2023)."""
    if mass is None:
        return logits
    information = -torch.log_softmax(logits, dim=-1)
    entropy = ((-information).exp() * information).nan_to_num(0.0).sum(dim=-1, keepdim=True)
    return _keep_mass(logits, (information - entropy).abs(), mass)


def _keep_mass(logits: Tensor, order: Tensor, mass: float) -> Tensor:
    """The first tokens by `order` stay, as few as together have `mass`."""
    places = order.argsort(dim=-1, stable=True)
    values = logits.gather(-1, places)
    sums = torch.softmax(values, dim=-1).cumsum(dim=-1)
    before = torch.cat([torch.zeros_like(sums[..., :1]), sums[..., :-1]], dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(-1, places, values.masked_fill(before >= mass, -torch.inf))


class _Running(NamedTuple):
    """The sentences that are still running: their places in the batch, (running,); whether each copy is open and its
    log-probability, (running, copies); its tokens, (running, copies, time), all eos after the first eos."""

    sentences: Tensor
    open: Tensor
    log_probability: Tensor
    tokens: Tensor


@torch.no_grad()
def _rollout(
    stepper: Stepper, batch: Batch, copies: int, pick: Pick, choice: config.Limits, demands: Demands
) -> list[list[Hypothesis]]:
    """Extends `copies` of each row until eos or `max_length` tokens, eos included; a sentence whose copies have all ended
    leaves the batch."""
    last, state = stepper.start(batch)
    allowed = rules(choice, demands, last.device)
    sentences = torch.arange(len(last), device=last.device)
    state = stepper.reorder(state, sentences[:, None].expand(-1, copies))
    last = last[:, None].expand(-1, copies)
    none = torch.zeros_like(last, dtype=torch.float)
    running = _Running(sentences, torch.ones_like(last, dtype=torch.bool), none, last[..., None][..., :0])
    results: list[list[Hypothesis]] = [[] for _ in batch]
    for length in range(1, choice.max_length + 1):
        scores, state = stepper.step(last, state)
        running = _extended(running, allowed(scores.log_probabilities, running.tokens, running.sentences), pick)
        going = running.open.any(dim=1) if length < choice.max_length else torch.zeros_like(running.sentences).bool()
        places = going.nonzero()[:, 0]
        if len(places) < len(going):
            _collect(_of(running, (~going).nonzero()[:, 0]), results)
            rows = (places * copies)[:, None] + torch.arange(copies, device=places.device)
            running, state = _of(running, places), stepper.reorder(state, rows, places)
        if not len(places):
            break
        last = running.tokens[..., -1]
    return results


def _extended(running: _Running, steps: Tensor, pick: Pick) -> _Running:
    tokens = torch.where(running.open, pick(steps), EOS)
    step = steps.gather(2, tokens[..., None])[..., 0]
    return running._replace(
        open=running.open & (tokens != EOS),
        log_probability=running.log_probability + step.masked_fill(~running.open, 0.0),
        tokens=torch.cat([running.tokens, tokens[..., None]], dim=2),
    )


def _of(running: _Running, places: Tensor) -> _Running:
    return _Running(*(part[places] for part in running))


def _collect(done: _Running, results: list[list[Hypothesis]]) -> None:
    rows = zip(done.sentences.tolist(), done.tokens.tolist(), done.log_probability.tolist(), strict=True)
    for sentence, tokens, totals in rows:
        results[sentence] = [_hypothesis(*found) for found in zip(tokens, totals, strict=True)]


def _hypothesis(row: list[int], log_probability: float) -> Hypothesis:
    finished = EOS in row
    tokens = row[: row.index(EOS)] if finished else row
    return Hypothesis(tokens, log_probability, log_probability, len(tokens) + finished, finished)
