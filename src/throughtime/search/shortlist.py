"""A search among few words, the likely translations of a batch's sources, in place of the whole vocabulary.

During the search the words are numbered by their places in the list. Special ids come first there, as they do in the
vocabulary, so they keep their numbers. Log-probabilities are normalised over the list.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.data.tokenizer import EOS, SPECIALS
from throughtime.search.risk import Write
from throughtime.search.rules import Demands
from throughtime.search.score import Hypothesis
from throughtime.search.stepper import Batch

Phrases = Sequence[Sequence[int]]


class Shortlist(NamedTuple):
    """The `likely` translations of each source word, (source vocabulary, some), and those `always` listed."""

    likely: Tensor
    always: Tensor

    def of(self, batch: Batch, demands: Demands) -> "Listed":
        """The words for a batch, which include all that is demanded of its hypotheses."""
        sources = sorted({EOS, *chain.from_iterable(batch)})
        asked = chain(demands.prefixes, demands.contained, *demands.phrases)
        demanded = torch.tensor([*range(SPECIALS), *chain.from_iterable(asked)])
        return Listed(torch.cat([demanded, self.always, self.likely[sources].flatten()]).unique().tolist())


class Listed:
    """The words of a search in order, and the translation of ids to and from places in that list."""

    def __init__(self, words: list[int]):
        self.words = words

    def demands(self, asked: Demands) -> Demands:
        """The demands in places; a phrase with a word that is not listed needs no ban."""
        places = {word: place for place, word in enumerate(self.words)}

        def numbered(phrases: Phrases) -> Phrases:
            return [[places[word] for word in phrase] for phrase in phrases]

        banned = [phrase for phrase in asked.banned if places.keys() >= set(phrase)]
        phrases = [numbered(row) for row in asked.phrases]
        return Demands(numbered(asked.prefixes), phrases, numbered(asked.contained), numbered(banned))

    def ids(self, places: Sequence[int]) -> list[int]:
        """Tokens of the search as ids of the vocabulary."""
        return [self.words[place] for place in places]

    def writing(self, write: Write) -> Write:
        """Writes tokens of the search."""
        return lambda places: write(self.ids(places))

    def restored(self, found: list[list[Hypothesis]]) -> list[list[Hypothesis]]:
        """Hypotheses with their tokens as ids of the vocabulary."""
        return [[replace(one, tokens=self.ids(one.tokens)) for one in row] for row in found]
