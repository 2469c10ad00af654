"""Batched beam search: sentences x hypotheses as tensors, finished hypotheses kept apart from the open ones.

At each step every open hypothesis is extended by every token. Of all extensions of a sentence, those among the best
`size` that end in eos go to the finished ones with their own length; the best `size` of the others stay open. Finished
and open hypotheses never compete: the former are ranked by score, the latter by log-probability.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from throughtime import config
from throughtime.data.tokenizer import EOS, PAD
from throughtime.nn.state import State
from throughtime.search.score import Hypothesis, best_possible, normalise
from throughtime.search.stepper import Batch, Stepper


@dataclass(frozen=True)
class Ranked:
    """Complete hypotheses of each sentence, best first; -inf scores mark empty places.

    `score`, `log_probability`, `length`: (sentences, places); `tokens`: (sentences, places, time), eos included.
    """

    score: Tensor
    log_probability: Tensor
    length: Tensor
    tokens: Tensor

    def merged(self, other: "Ranked", places: int) -> "Ranked":
        """The best `places` of both."""
        score = torch.cat([self.score, other.score], dim=1)
        best = score.argsort(dim=1, descending=True, stable=True)[:, :places]
        width = max(self.tokens.shape[2], other.tokens.shape[2])
        tokens = torch.cat([_widened(self.tokens, width), _widened(other.tokens, width)], dim=1)
        log_probability = torch.cat([self.log_probability, other.log_probability], dim=1).gather(1, best)
        length = torch.cat([self.length, other.length], dim=1).gather(1, best)
        return Ranked(score.gather(1, best), log_probability, length, _at(tokens, best))

    def of(self, sentences: Tensor) -> "Ranked":
        """The hypotheses of some sentences."""
        return Ranked(
            self.score[sentences],
            self.log_probability[sentences],
            self.length[sentences],
            self.tokens[sentences],
        )

    def row(self, place: int, finished: bool) -> list[Hypothesis]:
        """One sentence's hypotheses as plain data."""
        columns = (self.tokens, self.log_probability, self.score, self.length)
        rows = zip(*(column[place].tolist() for column in columns), strict=True)
        return [
            Hypothesis(tokens[: length - finished], log_probability, score, length, finished)
            for tokens, log_probability, score, length in rows
            if score > -torch.inf
        ]


@dataclass(frozen=True)
class Beams:
    """The open hypotheses of the sentences that still run.

    `sentences`: (running,), places in the batch; `tokens`: (running, width, time); `log_probability`: (running, width);
    `inputs`: (running * width,), the tokens to step with; `state`: rows running * width; `finished`: their finished
    hypotheses, `ended`: (running,), how many there were.
    """

    sentences: Tensor
    tokens: Tensor
    log_probability: Tensor
    inputs: Tensor
    state: State
    finished: Ranked
    ended: Tensor


@torch.no_grad()
def beam_search(stepper: Stepper, batch: Batch, choice: config.Beam) -> list[list[Hypothesis]]:
    """The `n_best` hypotheses of each row, best score first, finished ones before any that `max_length` cut off.

    `choice.stop`: a sentence is done when `size` hypotheses have finished (`finished`), when no open hypothesis can still
    beat the `n_best` finished ones under the score in use (`proven`), or at `max_length` tokens, eos included (`cutoff`).
    """
    results: list[list[Hypothesis]] = [[] for _ in batch]
    beams = _start(stepper, batch)
    for time in range(1, choice.max_length + 1):
        beams = _extended(stepper, beams, choice)
        done = _done(beams, choice) if time < choice.max_length else torch.ones_like(beams.ended, dtype=torch.bool)
        _collect(beams, done, choice, results)
        if done.all():
            break
        beams = _running(stepper, beams, ~done)
    return results


def _start(stepper: Stepper, batch: Batch) -> Beams:
    inputs, state = stepper.start(batch)
    count, device = len(inputs), inputs.device
    nothing = torch.zeros(count, 0, device=device)
    none_yet = Ranked(nothing, nothing, nothing.long(), torch.zeros(count, 0, 0, dtype=torch.long, device=device))
    open_ = torch.zeros(count, 1, 0, dtype=torch.long, device=device)
    sentences = torch.arange(count, device=device)
    return Beams(
        sentences,
        open_,
        torch.zeros(count, 1, device=device),
        inputs,
        state,
        none_yet,
        torch.zeros_like(sentences),
    )


def _extended(stepper: Stepper, beams: Beams, choice: config.Beam) -> Beams:
    """One step: the new open hypotheses, and the finished ones with those that just ended."""
    log_probabilities, state = stepper.step(beams.inputs, beams.state)
    running, width, _ = beams.tokens.shape
    vocabulary = log_probabilities.shape[-1]
    totals = beams.log_probability[..., None] + log_probabilities.view(running, width, vocabulary)
    # At most `size` of the best 2 x size end in eos, so that enough others are among them.
    best, places = totals.flatten(1).topk(min(2 * choice.size, width * vocabulary), dim=1)
    parents, tokens = places // vocabulary, places % vocabulary
    histories = torch.cat([_at(beams.tokens, parents), tokens[..., None]], dim=2)
    ends = tokens == EOS
    order = ends.long().argsort(dim=1, stable=True)[:, : min(choice.size, width * (vocabulary - 1))]
    rows = (parents.gather(1, order) + torch.arange(running, device=order.device)[:, None] * width).flatten()
    ended = _ended(histories, best, ends, choice)
    return replace(
        beams,
        tokens=_at(histories, order),
        log_probability=best.gather(1, order),
        inputs=tokens.gather(1, order).flatten(),
        state=stepper.reorder(state, rows),
        finished=beams.finished.merged(ended, choice.n_best),
        ended=beams.ended + (ended.score > -torch.inf).sum(dim=1),
    )


def _ended(histories: Tensor, best: Tensor, ends: Tensor, choice: config.Beam) -> Ranked:
    """The extensions among the best `size` that end in eos."""
    candidates = slice(0, choice.size)
    length = histories.shape[2]
    score = normalise(best[:, candidates], length, choice.alpha)
    score = torch.where(ends[:, candidates], score, -torch.inf)
    lengths = torch.full_like(histories[:, candidates, 0], length)
    return Ranked(score, best[:, candidates], lengths, histories[:, candidates])


def _done(beams: Beams, choice: config.Beam) -> Tensor:
    """(running,): which sentences the stop rule ends."""
    if choice.stop == "finished":
        return beams.ended >= choice.size
    if choice.stop == "cutoff" or beams.finished.score.shape[1] < choice.n_best:
        return torch.zeros_like(beams.ended, dtype=torch.bool)
    hope = best_possible(beams.log_probability.max(dim=1).values, choice.max_length, choice.alpha)
    return beams.finished.score[:, -1] >= hope


def _collect(beams: Beams, done: Tensor, choice: config.Beam, results: list[list[Hypothesis]]) -> None:
    """Hands out the results of the sentences that are done; open hypotheses fill up what the finished ones leave."""
    if not done.any():
        return
    places = done.nonzero()[:, 0]
    finished, length = beams.finished.of(places), beams.tokens.shape[2]
    open_log_probability = beams.log_probability[places]
    lengths = torch.full_like(beams.tokens[places][..., 0], length)
    score = normalise(open_log_probability, length, choice.alpha)
    cut = Ranked(score, open_log_probability, lengths, beams.tokens[places])
    for place, sentence in enumerate(beams.sentences[places].tolist()):
        found = finished.row(place, finished=True) + cut.row(place, finished=False)
        results[sentence] = found[: choice.n_best]


def _running(stepper: Stepper, beams: Beams, running: Tensor) -> Beams:
    """The beams of the sentences that go on."""
    if running.all():
        return beams
    width = beams.tokens.shape[1]
    places, rows = running.nonzero()[:, 0], running.repeat_interleave(width).nonzero()[:, 0]
    return Beams(
        beams.sentences[places],
        beams.tokens[places],
        beams.log_probability[places],
        beams.inputs[rows],
        stepper.reorder(beams.state, rows),
        beams.finished.of(places),
        beams.ended[places],
    )


def _at(tokens: Tensor, places: Tensor) -> Tensor:
    """tokens (sentences, from, time), places (sentences, to) -> (sentences, to, time)."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[2]))


def _widened(tokens: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(tokens, (0, width - tokens.shape[2]), value=PAD)
