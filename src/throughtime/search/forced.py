"""Force decoding: how probable given hypotheses are, token by token, and where the model looked for each."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from throughtime.data.batch import pad
from throughtime.data.tokenizer import EOS, PAD
from throughtime.search.score import Hypothesis
from throughtime.search.stepper import Batch, Stepper


class Forced(NamedTuple):
    """`log_probabilities`: of each token, eos included; `attention`: for each token the weights over the source (eos
    included, as the model reads it), or None where the model has no attention."""

    log_probabilities: list[float]
    attention: list[list[float]] | None


def complete(hypothesis: Hypothesis) -> list[int]:
    """All tokens of a hypothesis, eos included where it has finished."""
    return [*hypothesis.tokens, EOS] if hypothesis.finished else hypothesis.tokens


@torch.no_grad()
def force(stepper: Stepper, batch: Batch, targets: Sequence[Sequence[int]]) -> list[Forced]:
    """The stepper's view of each row's target (which ends in eos if that counts); the log-probabilities sum to what a
    search returns for the same hypothesis."""
    if not batch:
        return []
    first, state = stepper.start(batch)
    tokens = pad([list(target) for target in targets], PAD).to(first.device)
    steps, attention, last = [], [], first[:, None]
    for token in tokens.split(1, dim=1):
        scores, state = stepper.step(last, state)
        steps.append(scores.log_probabilities.gather(2, token[..., None])[..., 0])
        attention.append(scores.attention)
        last = token
    found = torch.cat(steps, dim=1).tolist() if steps else [[] for _ in targets]
    looked = None if not attention or attention[0] is None else torch.cat(attention, dim=1).tolist()  # type: ignore[arg-type]
    return [_forced(place, row, len(targets[place]), looked, len(batch[place]) + 1) for place, row in enumerate(found)]


def _forced(place: int, row: list[float], length: int, looked: list[list[list[float]]] | None, source: int) -> Forced:
    return Forced(row[:length], None if looked is None else [step[:source] for step in looked[place][:length]])
