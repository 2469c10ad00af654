"""IBM model 1 as its paper has it, in plain loops, and on pairs whose translations are known."""

import random
from collections import defaultdict

import numpy as np
import pytest

from throughtime.data.lexicon import ROUNDS, Pair, lexicon


def some_pairs(count: int) -> list[Pair]:
    """Sentences of different words in any order; word s is translated by s + 10, and 20 stands at any place."""
    chance = random.Random(1)
    pairs: list[Pair] = []
    for _ in range(count):
        source = chance.sample(range(1, 10), chance.randint(1, 5))
        target = [word + 10 for word in source] + [20] * chance.randint(0, 1)
        chance.shuffle(target)
        pairs.append(([*source, 0], target))
    return pairs


def in_plain_loops(pairs: list[Pair], rounds: int) -> dict[tuple[int, int], float]:
    """Brown et al. 1993, equations 14 to 17 for model 1, from equal probabilities."""
    found = {(s, t): 1.0 for source, target in pairs for s in source for t in target}
    for _ in range(rounds):
        expected: dict[tuple[int, int], float] = defaultdict(float)
        for source, target in pairs:
            for t in target:
                total = sum(found[s, t] for s in source)
                for s in source:
                    expected[s, t] += found[s, t] / total
        totals: dict[int, float] = defaultdict(float)
        for (s, _), count in expected.items():
            totals[s] += count
        found = {(s, t): count / totals[s] for (s, t), count in expected.items()}
    return found


def test_it_equals_plain_loops() -> None:
    pairs = [*some_pairs(12), ([3, 3, 1, 0], [13, 13, 11]), ([], [11]), ([4, 0], [])]
    ours = lexicon(pairs)
    theirs = in_plain_loops(pairs, ROUNDS)
    assert list(zip(ours.source.tolist(), ours.target.tolist(), strict=True)) == sorted(theirs)
    assert ours.probability.tolist() == pytest.approx([theirs[link] for link in sorted(theirs)], rel=1e-9)


def test_the_best_are_the_translations() -> None:
    best = lexicon(some_pairs(200)).best(words=12, count=2, filler=-1)
    assert best[1:10, 0].tolist() == [word + 10 for word in range(1, 10)]
    assert best[0, 0] == 20  # what no word brings about is the end's
    assert best[10:].tolist() == [[-1, -1]] * 2


def test_no_pairs_teach_nothing() -> None:
    assert np.array_equal(lexicon([]).best(2, 1, filler=7), [[7], [7]])
