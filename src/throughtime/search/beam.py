"""Batched beam search: sentences x hypotheses as tensors, finished hypotheses kept apart from the open ones.

At each step every open hypothesis is extended by every token. Of a sentence's extensions, those among the best `size`
that end in eos are added to the finished ones with their own length; the best `size` of the others stay open (in
groups, or for given phrases, as `diverse` and `constrained` choose). Finished and open hypotheses never compete: the
former are ranked by score, the latter by log-probability. A sentence that the stop rule ends leaves the batch in the
same step.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import config
from throughtime.search.constrained import Phrases, best_with
from throughtime.search.diverse import best_in_groups
from throughtime.search.extensions import Extensions, best_extensions, split
from throughtime.search.finished import Ranked, at, grown
from throughtime.search.rules import Demands, rules
from throughtime.search.score import Hypothesis, Score
from throughtime.search.stepper import Batch, Scores, Stepper


@dataclass(frozen=True)
class Beams:
    """The hypotheses of the sentences that are still running.

    `sentences`: (running,), places in the batch; `tokens`: (running, width, time), those of the open hypotheses, and
    `log_probability`: (running, width); `covered`: (running, width, source time), the attention so far, or None where it
    does not count; `finished`: the best `n_best` finished ones; `ended`: (running,), how many have finished.
    """

    sentences: Tensor
    tokens: Tensor
    log_probability: Tensor
    covered: Tensor | None
    finished: Ranked
    ended: Tensor

    @staticmethod
    def begun(sentences: int, places: int, device: torch.device) -> "Beams":
        """One open hypothesis per sentence, without a token yet."""
        return Beams(
            torch.arange(sentences, device=device),
            torch.zeros(sentences, 1, 0, dtype=torch.long, device=device),
            torch.zeros(sentences, 1, device=device),
            None,
            Ranked.none(sentences, places, device),
            torch.zeros(sentences, dtype=torch.long, device=device),
        )

    def of(self, places: Tensor) -> "Beams":
        """Some of the running sentences."""
        return Beams(
            self.sentences[places],
            self.tokens[places],
            self.log_probability[places],
            None if self.covered is None else self.covered[places],
            self.finished.of(places),
            self.ended[places],
        )


class Done(NamedTuple):
    """Sentences that have left the batch: their places in it, and their hypotheses."""

    sentences: Tensor
    finished: Ranked
    cut: Ranked


@torch.no_grad()
def beam_search(stepper: Stepper, batch: Batch, choice: config.Beam, demands: Demands) -> list[list[Hypothesis]]:
    """The `n_best` hypotheses of each row, best score first, finished ones before any that `max_length` cut off.

    `choice.stop`: a sentence is done when `choice.finished` hypotheses have finished (`finished`), when no open
    hypothesis can still beat the `n_best` finished ones under the score in use (`proven`, see `Score.hope`), or at
    `max_length` tokens, eos included (`cutoff`).
    """
    last, state = stepper.start(batch)
    allowed, wanted = rules(choice, demands, last.device), demands.wanted(len(batch))
    phrases = Phrases(wanted, last.device) if any(wanted) else None
    beams = Beams.begun(len(last), choice.n_best, last.device)
    left, last = [], last[:, None]
    for length in range(1, choice.max_length + 1):
        scores, state = stepper.step(last, state)
        steps = allowed(scores.log_probabilities, beams.tokens, beams.sentences)
        chosen = _chosen(beams, steps, choice, phrases)
        beams, rows = _extended(beams, chosen, _covered(beams, scores, choice), choice)
        done = _done(beams, choice) if length < choice.max_length else torch.ones_like(beams.ended, dtype=torch.bool)
        going = (~done).nonzero()[:, 0]
        if len(going) < len(rows):
            left.append(_leaving(beams.of(done.nonzero()[:, 0]), choice, phrases))
            beams, rows = beams.of(going), rows[going]
        if not len(rows):
            break
        last, state = beams.tokens[..., -1], stepper.reorder(state, rows, going if len(going) < len(done) else None)
    return _results(left, len(batch), choice.n_best)


def _extended(
    beams: Beams, chosen: tuple[Extensions, Extensions], covered: Tensor | None, choice: config.Beam
) -> tuple[Beams, Tensor]:
    """The new beams of ended and open extensions, and the rows of the old ones that the open ones come from, (running,
    width)."""
    ended, open_ = chosen
    running, width = beams.log_probability.shape
    finished, count = beams.finished, torch.zeros_like(beams.ended)
    if bool((ended.log_probability > -torch.inf).any()):  # most steps end nothing, and need no sorting
        fresh = _ranked(beams, ended, covered, choice)
        finished, count = finished.merged(fresh), (fresh.score > -torch.inf).sum(dim=1)
    going_on = Beams(
        beams.sentences,
        grown(beams.tokens, open_.parents, open_.tokens),
        open_.log_probability,
        None if covered is None else at(covered, open_.parents),
        finished,
        beams.ended + count,
    )
    return going_on, open_.parents + width * torch.arange(running, device=open_.parents.device)[:, None]


def _chosen(beams: Beams, steps: Tensor, choice: config.Beam, phrases: Phrases | None) -> tuple[Extensions, Extensions]:
    """Which extensions end and which stay open; steps: (running, width, vocabulary)."""
    totals, (_, width, vocabulary) = beams.log_probability, steps.shape
    if phrases:
        return best_with(phrases, beams.tokens, beams.sentences, steps, totals, choice.size)
    if choice.groups > 1:
        return best_in_groups(steps, totals, choice.size, choice.groups, choice.diversity)
    # At most `size` of the best 2 x size end in eos, so enough others are among them.
    best = best_extensions(steps, totals, 2 * choice.size)
    return split(best, choice.size, min(choice.size, width * (vocabulary - 1)))


def _covered(beams: Beams, scores: Scores, choice: config.Beam) -> Tensor | None:
    """The attention that each source token has received up to this step; None unless coverage counts.

    Raises:
        Mistake: coverage counts, and the model has no attention.
    """
    if not choice.coverage:
        return None
    if scores.attention is None:
        raise config.wrong("search.coverage", choice.coverage, "0 with a model without attention")
    return scores.attention if beams.covered is None else beams.covered + scores.attention


def _ranked(beams: Beams, extensions: Extensions, covered: Tensor | None, choice: config.Beam) -> Ranked:
    """Extensions as complete hypotheses with their scores; placeholders score -inf."""
    tokens = grown(beams.tokens, extensions.parents, extensions.tokens)
    lengths = torch.full_like(extensions.tokens, tokens.shape[2])
    received = None if covered is None else at(covered, extensions.parents)
    score = Score(choice)(extensions.log_probability, lengths, received)
    return _once(Ranked(score, extensions.log_probability, lengths, tokens), choice)


def _once(ranked: Ranked, choice: config.Beam) -> Ranked:
    """Each hypothesis once, as groups may have found the same one."""
    return ranked.different() if choice.groups > 1 else ranked


def _done(beams: Beams, choice: config.Beam) -> Tensor:
    """(running,): which sentences the stop rule ends; those without an open hypothesis end under every rule."""
    best = beams.log_probability.amax(dim=1)
    dead = best == -torch.inf
    if choice.stop == "finished":
        return dead | (beams.ended >= (choice.finished or choice.size))
    if choice.stop == "cutoff":
        return dead
    return dead | (beams.finished.score[:, -1] >= Score(choice).hope(best, beams.tokens.shape[2]))


def _leaving(beams: Beams, choice: config.Beam, phrases: Phrases | None) -> Done:
    """The hypotheses of sentences that are done; their open ones count as cut off here."""
    lengths = torch.full_like(beams.tokens[..., 0], beams.tokens.shape[2])
    score = Score(choice)(beams.log_probability, lengths, beams.covered)
    if phrases:
        lacking = phrases.lacking(beams.tokens, beams.sentences).masked_fill(score == -torch.inf, phrases.tokens + 1)
        score = score.masked_fill(lacking > lacking.amin(dim=1, keepdim=True), -torch.inf)
    cut = _once(Ranked(score, beams.log_probability, lengths, beams.tokens), choice)
    empty = Ranked.none(len(lengths), choice.n_best, lengths.device)
    return Done(beams.sentences, beams.finished, empty.merged(cut))


def _results(left: list[Done], sentences: int, n_best: int) -> list[list[Hypothesis]]:
    """The hypotheses of all sentences in the order of the batch; cut ones fill the places that finished ones leave."""
    places = torch.cat([done.sentences for done in left]).tolist()
    finished, cut = (Ranked.all_of(parts) for parts in zip(*((done.finished, done.cut) for done in left), strict=True))
    rows = zip(places, finished.rows(True), cut.rows(False), strict=True)
    found = {sentence: (whole + rest)[:n_best] for sentence, whole, rest in rows}
    return [found[sentence] for sentence in range(sentences)]
