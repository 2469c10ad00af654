"""Greedy decoding, sampling and beam search over anything that can take one step."""

import torch

from throughtime import config
from throughtime.search.beam import beam_search
from throughtime.search.sample import greedy, sample
from throughtime.search.score import Hypothesis
from throughtime.search.stepper import Batch, Stepper, stepper_of

__all__ = ["Hypothesis", "Stepper", "search", "stepper_of"]


def search(choice: config.Search, stepper: Stepper, batch: Batch, random: torch.Generator) -> list[list[Hypothesis]]:
    """The search of `search=`: for each row its hypotheses, best first."""
    match choice:
        case config.Greedy():
            return greedy(stepper, batch, choice)
        case config.Sample():
            return sample(stepper, batch, choice, random)
        case config.Beam():
            return beam_search(stepper, batch, choice)
