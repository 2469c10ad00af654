"""Diverse beam search against the paper's algorithm written out hypothesis by hypothesis."""

from itertools import permutations

import pytest
import torch
from tests.search.models import CODES, Table, beam, run, same

from throughtime.data.tokenizer import EOS
from throughtime.search.diverse import best_in_groups


def written_out(
    model: Table, start: int, size: int, groups: int, diversity: float, longest: int
) -> dict[tuple[int, ...], float]:
    """All hypotheses that finish and their log-probability, by plain loops over groups, hypotheses and tokens."""
    each, finished = size // groups, {}
    beams = [[((), 0.0, (start * 31 + 1) % CODES)] for _ in range(groups)]
    for _ in range(longest):
        taken = [0] * model.vocabulary
        for group, hypotheses in enumerate(beams):
            grown = []
            for tokens, total, code in hypotheses:
                steps = torch.log_softmax(model.logits[code], dim=-1).tolist()
                for token, step in enumerate(steps):
                    grown.append((total + step - diversity * taken[token], (*tokens, token), total + step, code))
            grown = sorted(grown, key=lambda one: -one[0])[: 2 * each]
            for _, tokens, _, _ in grown[:each]:
                taken[tokens[-1]] += 1
            finished |= {tokens: total for _, tokens, total, _ in grown[:each] if tokens[-1] == EOS}
            kept = [one for one in grown if one[1][-1] != EOS][:each]
            beams[group] = [(tokens, total, (code * 31 + tokens[-1] + 1) % CODES) for _, tokens, total, code in kept]
    return finished


@pytest.mark.parametrize(("size", "groups"), [(4, 2), (6, 3), (6, 2)])
def test_groups_find_what_the_algorithm_finds(size: int, groups: int) -> None:
    for seed in range(10):
        model = Table(7, seed, eos_bias=1.0)
        choice = beam(6, size, groups=groups, diversity=0.7, stop="cutoff", n_best=size)
        expected = written_out(model, 5, size, groups, 0.7, 6)
        found = [(*h.tokens, EOS) for h in run(model, [5], choice)[0] if h.finished]
        assert found
        assert found == sorted(expected, key=lambda tokens: -expected[tokens] / len(tokens))[:size]
        for hypothesis in run(model, [5], choice)[0]:
            steps, _ = model.path(5, [*hypothesis.tokens, *[EOS] * hypothesis.finished])
            assert hypothesis.log_probability == pytest.approx(sum(steps), abs=1e-5)


@pytest.mark.parametrize("stop", ["finished", "proven", "cutoff"])
def test_what_several_groups_find_comes_once(stop: str) -> None:
    choice = beam(8, 6, groups=3, diversity=0.5, stop=stop, n_best=6)
    for row in run(Table(40, 1), list(range(20)), choice):
        assert len(row) > 1
        assert len({(*found.tokens, found.finished) for found in row}) == len(row)


def test_a_place_that_nothing_fills_takes_no_token() -> None:
    """The first group has one extension for its two places; the other is none, whatever token it seems to have."""
    for only, best, second in permutations({0, 1, 3, 4}, 3):
        steps = torch.full((1, 2, 5), -torch.inf)
        steps[0, 0, only], steps[0, 1] = -1.0, -9.0
        steps[0, 1, best], steps[0, 1, second] = -0.5, -0.6
        _, found = best_in_groups(steps, torch.zeros(1, 2), 4, 2, diversity=5.0)
        assert found.tokens[0, 2:].tolist() == [best, second]


def test_one_group_is_beam_search_and_more_differ() -> None:
    def first_tokens(diversity: float) -> int:
        rows = run(Table(40, 1), list(range(20)), beam(6, 6, groups=3, diversity=diversity, n_best=6))
        return sum(len({hypothesis.tokens[0] for hypothesis in row if hypothesis.tokens}) for row in rows)

    assert first_tokens(5.0) > first_tokens(0.0)
    model = Table(9, 2)
    same(run(model, [4], beam(6, 4, n_best=4))[0], run(model, [4], beam(6, 4, groups=1, diversity=9.0, n_best=4))[0])
