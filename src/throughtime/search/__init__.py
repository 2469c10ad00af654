"""Greedy decoding, sampling and beam search over anything that can take one step."""

from throughtime.search.combined import Ensemble, Fusion
from throughtime.search.forced import Forced, complete, force
from throughtime.search.rules import Demands, banned, contained
from throughtime.search.score import Hypothesis
from throughtime.search.searching import by_length, search, search_all
from throughtime.search.shortlist import Shortlist
from throughtime.search.stepper import Stepper, stepper_of

__all__ = [
    "Demands",
    "Ensemble",
    "Forced",
    "Fusion",
    "Hypothesis",
    "Shortlist",
    "Stepper",
    "banned",
    "by_length",
    "complete",
    "contained",
    "force",
    "search",
    "search_all",
    "stepper_of",
]
