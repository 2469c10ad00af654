"""Stochastic beam search (Kool et al. 2019): whole hypotheses drawn without replacement, as if all of them were listed.

Gumbel noise is added to the log-probability of every hypothesis, and the `size` largest sums are the sample. A beam
finds them: the children of a hypothesis get noise of their own, on the condition that the largest of their sums is that
of their parent. Finished hypotheses keep their sum and their place in the beam.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import config
from throughtime.data.tokenizer import EOS
from throughtime.search.finished import Ranked, grown
from throughtime.search.rules import Demands, rules
from throughtime.search.score import Hypothesis
from throughtime.search.stepper import Batch, Stepper


class Drawn(NamedTuple):
    """The beam of each sentence, the largest sum first: tokens (sentences, width, time), all eos after the first eos;
    and (sentences, width) log-probabilities, their sums with noise (`score`), lengths, and whether each is open."""

    tokens: Tensor
    log_probability: Tensor
    score: Tensor
    length: Tensor
    open: Tensor


@torch.no_grad()
def stochastic_beam_search(
    stepper: Stepper, batch: Batch, choice: config.StochasticBeam, demands: Demands, random: torch.Generator
) -> list[list[Hypothesis]]:
    """`size` different hypotheses per row, a sample without replacement in the order of drawing (or all, if there are
    fewer). `score` is the log-probability plus noise. `random` is on the CPU."""
    last, state = stepper.start(batch)
    allowed = rules(choice, demands, last.device)
    sentences, none = torch.arange(len(last), device=last.device), torch.zeros(len(last), 1, device=last.device)
    drawn = Drawn(sentences.new_zeros(len(last), 1, 0), none, none, none.long(), none == 0)
    last = last[:, None]
    while bool(drawn.open.any()) and drawn.tokens.shape[2] < choice.max_length:
        scores, state = stepper.step(last, state)
        steps = allowed(scores.log_probabilities, drawn.tokens, sentences)
        drawn, parents = _extended(drawn, steps, choice, random)
        width = scores.log_probabilities.shape[1]
        last, state = drawn.tokens[..., -1], stepper.reorder(state, parents + width * sentences[:, None])
    finished, cut = _ranked(drawn, ~drawn.open).rows(True), _ranked(drawn, drawn.open).rows(False)
    rows = zip(finished, cut, strict=True)
    return [sorted([*ended, *others], key=lambda hypothesis: -hypothesis.score) for ended, others in rows]


def _extended(
    drawn: Drawn, steps: Tensor, choice: config.StochasticBeam, random: torch.Generator
) -> tuple[Drawn, Tensor]:
    """One step: the new beam, and the places of the parents in the old one. steps: (sentences, width, vocabulary)."""
    width, vocabulary = steps.shape[1:]
    stays = torch.full_like(steps, -torch.inf)
    stays[..., EOS] = 0  # a finished hypothesis has one child, itself
    totals = drawn.log_probability[..., None] + torch.where(drawn.open[..., None], steps, stays)
    children = below(drawn.score, totals, random)
    children = torch.where(drawn.open[..., None], children, drawn.score[..., None] + stays)
    score, places = children.flatten(1).topk(min(choice.size, width * vocabulary))
    parents, tokens = places // vocabulary, places % vocabulary
    was_open = drawn.open.gather(1, parents)
    return Drawn(
        grown(drawn.tokens, parents, tokens),
        totals.flatten(1).gather(1, places),
        score,
        drawn.length.gather(1, parents) + was_open,
        was_open & (tokens != EOS) & (score > -torch.inf),
    ), parents


def below(parent: Tensor, log_probability: Tensor, random: torch.Generator) -> Tensor:
    """Log-probabilities (..., children) plus Gumbel noise, on the condition that the largest sum is `parent` (...): by
    equations 23 and 24 of the paper's appendix B.3."""
    noise = -torch.empty(log_probability.shape).exponential_(generator=random).log()
    free = log_probability + noise.to(log_probability.device, non_blocking=True)
    largest = free.amax(dim=-1, keepdim=True)
    v = parent[..., None] - free + torch.log1p(-torch.exp(free - largest))
    return parent[..., None] - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))


def _ranked(drawn: Drawn, those: Tensor) -> Ranked:
    score = drawn.score.masked_fill(~those, -torch.inf)
    return Ranked(score, drawn.log_probability, drawn.length, drawn.tokens)
