"""Which words of the target side a source word is translated by: IBM model 1 (Brown et al. 1993), learned from pairs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDS = 5
MOST_LINKS = 1 << 24  # of a source and a target word of one pair; of a larger corpus pairs are taken evenly

Pair = tuple[Sequence[int], Sequence[int]]  # token ids of a source and of its target


class Lexicon(NamedTuple):
    """For each row a `source` and a `target` word and the `probability` of the second among all that the first brings
    about; (entries,), in order of source and target."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    probability: NDArray[np.float64]

    def best(self, words: int, count: int, filler: int) -> NDArray[np.int64]:
        """The `count` likeliest targets of each source word, (words, count), with the filler where there are
        fewer."""
        order = np.lexsort((-self.probability, self.source))
        source = self.source[order]
        rank = np.arange(len(source)) - np.searchsorted(source, source)
        found = np.full((words, count), filler)
        found[source[rank < count], rank[rank < count]] = self.target[order][rank < count]
        return found


def lexicon(pairs: Sequence[Pair]) -> Lexicon:
    """Expectation maximisation from equal probabilities: each target word of a pair is brought about by one of the source's
    words, in proportion to p(target word | source word)."""
    source, target, word = _links(pairs)
    width = int(target.max(initial=0)) + 1
    entries, entry = np.unique(source.astype(np.int64) * width + target, return_inverse=True)
    sources = entries // width
    probability = np.ones(len(entries))
    for _ in range(ROUNDS):
        share = probability[entry]
        share /= np.bincount(word, share)[word]
        expected = np.bincount(entry, share, len(entries))
        probability = expected / np.bincount(sources, expected)[sources]
    return Lexicon(sources, entries % width, probability)


def _links(pairs: Sequence[Pair]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Each source word beside each target word of its pair, and which target word of the corpus that is."""
    total = sum(len(source) * len(target) for source, target in pairs)
    chosen = pairs[:: max(1, -(-total // MOST_LINKS))]
    sources = [np.repeat(np.array(source, np.int32), len(target)) for source, target in chosen]
    targets = [np.tile(np.array(target, np.int32), len(source)) for source, target in chosen]
    starts = np.cumsum([0, *(len(target) for _, target in chosen)])
    words = [
        np.tile(np.arange(start, start + len(target)), len(source))
        for start, (source, target) in zip(starts, chosen, strict=False)
    ]
    none = np.empty(0, np.int32)
    return np.concatenate([none, *sources]), np.concatenate([none, *targets]), np.concatenate([none, *words])
