"""The search of `search=` over a batch, and over any number of rows."""

from collections.abc import Callable, Iterable, Sequence

import torch

from throughtime import config
from throughtime.search.beam import beam_search
from throughtime.search.risk import Write, minimum_bayes_risk
from throughtime.search.rules import Demands
from throughtime.search.sample import greedy, sample
from throughtime.search.score import Hypothesis
from throughtime.search.shortlist import Shortlist
from throughtime.search.stepper import Batch, Stepper
from throughtime.search.stochastic import stochastic_beam_search

NO_DEMANDS = Demands()


def as_numbers(tokens: Sequence[int]) -> str:
    """The text of tokens where there is no tokenizer."""
    return " ".join(map(str, tokens))


def search(
    choice: config.Search,
    stepper: Stepper,
    batch: Batch,
    random: torch.Generator,
    demands: Demands = NO_DEMANDS,
    write: Write = as_numbers,
    shortlist: Shortlist | None = None,
) -> list[list[Hypothesis]]:
    """The search of `search=`: for each row its hypotheses, best first, or an empty one if nothing can be found.

    `random`, on the CPU, is drawn from by searches that sample; `write` turns tokens into text for those that compare
    texts; with a `shortlist` only its words are searched.
    """
    if shortlist is not None:
        listed = shortlist.of(batch, demands)
        narrow, asked = stepper.narrowed(listed.words), listed.demands(demands)
        return listed.restored(search(choice, narrow, batch, random, asked, listed.writing(write)))
    match choice:
        case config.Greedy():
            found = greedy(stepper, batch, choice, demands)
        case config.MinimumBayesRisk():
            samples = sample(stepper, batch, choice, demands, random)
            found = [minimum_bayes_risk(row, choice.utility, write)[: choice.n_best] for row in samples]
        case config.Sample():
            found = sample(stepper, batch, choice, demands, random)
        case config.StochasticBeam():
            found = stochastic_beam_search(stepper, batch, choice, demands, random)
        case config.Beam():
            found = beam_search(stepper, batch, choice, demands)
    return [row or [Hypothesis([], 0.0, 0.0, 0, finished=False)] for row in found]


def search_all(
    choice: config.Search,
    stepper: Stepper,
    rows: Batch,
    random: torch.Generator,
    size: int,
    demands: Demands = NO_DEMANDS,
    write: Write = as_numbers,
    shown: Callable[[list[list[int]]], Iterable[list[int]]] = iter,
) -> list[list[Hypothesis]]:
    """The same for any number of rows: `size` of about equal length at a time, the longest first; results in row order.

    `shown` iterates over the batches, each the places of its rows, and may show the progress.
    """
    found: dict[int, list[Hypothesis]] = {}
    for places in shown(by_length(rows, size)):
        batch = [rows[place] for place in places]
        found |= zip(places, search(choice, stepper, batch, random, demands.of(places), write), strict=True)
    return [found[place] for place in range(len(rows))]


def by_length(rows: Batch, size: int) -> list[list[int]]:
    """The places of the rows in groups of `size`, the longest first, so that little of a batch is padding."""
    places = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    return [places[start : start + size] for start in range(0, len(places), size)]
