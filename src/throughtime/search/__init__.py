"""Greedy decoding, sampling and beam search over anything that can take one step."""

import torch

from throughtime import config
from throughtime.search.beam import beam_search
from throughtime.search.forced import Forced, complete, force
from throughtime.search.rules import Demands, banned
from throughtime.search.sample import greedy, sample
from throughtime.search.score import Hypothesis
from throughtime.search.stepper import Batch, Stepper, stepper_of

__all__ = [
    "Demands",
    "Forced",
    "Hypothesis",
    "Stepper",
    "banned",
    "by_length",
    "complete",
    "force",
    "search",
    "search_all",
    "stepper_of",
]

NOTHING = Demands()


def search(
    choice: config.Search, stepper: Stepper, batch: Batch, random: torch.Generator, demands: Demands = NOTHING
) -> list[list[Hypothesis]]:
    """The search of `search=`: for each row its hypotheses, best first.

    `random`, on the CPU, is drawn from by searches that sample.
    """
    match choice:
        case config.Greedy():
            return greedy(stepper, batch, choice, demands)
        case config.Sample():
            return sample(stepper, batch, choice, demands, random)
        case config.Beam():
            return beam_search(stepper, batch, choice, demands)


def search_all(
    choice: config.Search,
    stepper: Stepper,
    rows: Batch,
    random: torch.Generator,
    size: int,
    demands: Demands = NOTHING,
) -> list[list[Hypothesis]]:
    """The same for any number of rows: `size` of about equal length at a time, the longest first; results in their order."""
    found: dict[int, list[Hypothesis]] = {}
    for places in by_length(rows, size):
        batch = [rows[place] for place in places]
        found |= zip(places, search(choice, stepper, batch, random, demands.of(places)), strict=True)
    return [found[place] for place in range(len(rows))]


def by_length(rows: Batch, size: int) -> list[list[int]]:
    """The places of the rows in groups of `size`, the longest first, so that little of a batch is padding."""
    places = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    return [places[start : start + size] for start in range(0, len(places), size)]
