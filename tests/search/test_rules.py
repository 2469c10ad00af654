"""What may come next: every rule by its definition, in every search."""

from itertools import product

import pytest
import torch
from tests.search.models import Table, beam, best_of, everything, greedy, run, same, sampling

from throughtime import config
from throughtime.data.tokenizer import EOS, UNK
from throughtime.search.rules import banned, contained, penalised, without_repeated

SEARCHES = [beam, greedy, lambda longest, *_, **settings: sampling(longest, 3, **settings)]
STARTS = [3, 14, 15, 92]


def choice(search: object, longest: int, **settings: object) -> config.Search:
    return search(longest, 3, **settings) if search is beam else search(longest, **settings)  # type: ignore[operator]


def contains(tokens: list[int], phrase: list[int]) -> bool:
    return any(tokens[start : start + len(phrase)] == phrase for start in range(len(tokens)))


@pytest.mark.parametrize("search", SEARCHES)
def test_what_is_forbidden_never_comes(search: object) -> None:
    for seed in range(8):
        model = Table(7, seed, eos_bias=1.0)
        settings = {"min_length": 5, "block_ngrams": 2}
        for rows in run(model, STARTS, choice(search, 9, **settings), banned=[[3], [4, 5]]):
            for found in rows:
                assert found.length >= 5
                assert not contains(found.tokens, [3])
                assert not contains(found.tokens, [4, 5])
                pairs = list(zip(found.tokens, found.tokens[1:], strict=False))
                assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("search", SEARCHES)
def test_a_prefix_comes_first_whatever_else_holds(search: object) -> None:
    prefixes = [[4, 4, 5], [], [6], [5, 1]]
    for seed in range(8):
        found = run(Table(7, seed), STARTS, choice(search, 8), prefixes=prefixes, banned=[[4]])
        free = run(Table(7, seed), STARTS, choice(search, 8), banned=[[4]])
        for prefix, rows, others in zip(prefixes, found, free, strict=True):
            assert all(hypothesis.tokens[: len(prefix)] == prefix for hypothesis in rows)
            if not prefix and search is not SEARCHES[2]:
                same(rows, others)
        together = [hypothesis for rows in found for hypothesis in rows]
        assert all(4 not in hypothesis.tokens[3:] for hypothesis in together)


def test_an_unbounded_beam_under_rules_is_enumeration() -> None:
    for seed, start in product(range(5), STARTS):
        model, settings = Table(4, seed), beam(5, 4**5, n_best=6, stop="proven")
        everyone = best_of(everything(model, start, 5), beam(5, 4**5, n_best=4**5))
        allowed = [found for found in everyone if not contains(found.tokens, [3, 1]) and found.tokens[:1] == [3]]
        (found,) = run(model, [start], settings, prefixes=[[3]], banned=[[3, 1]])
        finished = [hypothesis for hypothesis in allowed if hypothesis.finished]
        same(found, sorted(finished, key=lambda h: -h.score)[:6])


def test_rules_leave_the_other_tokens_alone() -> None:
    steps = torch.log_softmax(torch.randn(1, 2, 8), dim=-1)
    tokens, sentences = torch.tensor([[[4, 5, 6, 4, 5], [5, 5, 5, 7, 5]]]), torch.tensor([0])
    ruled = without_repeated(3)(steps.clone(), tokens, sentences)
    assert (ruled != steps).nonzero().tolist() == [[0, 0, 6]]
    weaker = penalised(1.5)(steps.clone(), tokens, sentences)
    seen = torch.zeros(1, 2, 8, dtype=torch.bool)
    seen[0, 0, [4, 5, 6]] = seen[0, 1, [5, 7]] = True
    torch.testing.assert_close(weaker, torch.where(seen, 1.5 * steps, steps))


def test_who_may_go_nowhere_ends() -> None:
    for (found,) in run(Table(4, 1), STARTS, greedy(6, min_length=6), banned=[[0], [1], [3]]):
        assert (found.tokens, found.finished) == ([], True)


def test_what_has_no_tokens_can_be_banned_and_not_demanded() -> None:
    def known(text: str) -> list[int]:
        return [4 if letter == "a" else UNK for letter in text]

    assert banned(greedy(5, banned=["b", "a", "ab"]), known) == [[4]]
    assert contained(beam(5, 2, contains=["aa"]), known) == [[4, 4]]
    with pytest.raises(config.Mistake, match=r"^search\.contains=ab: allowed is texts of words or characters that"):
        contained(beam(5, 2, contains=["aa", "ab"]), known)


def test_texts_are_banned_alone_and_behind_a_space() -> None:
    choice = greedy(5, banned=["ab", ""])
    assert banned(choice, lambda text: [ord(letter) for letter in text]) == [[97, 98], [32, 97, 98], [32]]
    assert EOS == 2
