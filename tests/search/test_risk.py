"""Minimum Bayes risk by its definition."""

from dataclasses import replace

from sacrebleu import sentence_chrf
from tests.search.models import LIMITS, Table, run

from throughtime import config
from throughtime.search.risk import minimum_bayes_risk
from throughtime.search.score import Hypothesis


def hypothesis(text: str) -> Hypothesis:
    return Hypothesis([ord(letter) for letter in text], -1.0, -1.0, len(text) + 1, True)


def written(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def test_the_most_like_the_others_comes_first() -> None:
    texts = ["a cat sat", "a cat sat here", "a dog", "a cat sat", "a cat ate here"]
    found = minimum_bayes_risk([hypothesis(text) for text in texts], "chrf", written)  # type: ignore[arg-type]
    expected = {text: sum(sentence_chrf(text, [other]).score for other in texts) / 5 for text in texts}
    assert [written(one.tokens) for one in found] == sorted(expected, key=lambda text: -expected[text])
    assert all(abs(one.score - expected[written(one.tokens)]) < 1e-9 for one in found)


def test_of_equals_the_more_probable_one_comes_first() -> None:
    samples = [replace(hypothesis(text), log_probability=-at) for at, text in enumerate(["ab", "cd", "ef"], start=1)]
    for utility in ("bleu", "chrf"):
        found = minimum_bayes_risk(samples, utility, written)  # type: ignore[arg-type]
        assert [one.log_probability for one in found] == [-1, -2, -3]
        assert len({one.score for one in found}) == 1


def test_samples_come_once_each() -> None:
    plain = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None, "typical": None}
    named = {"name": "minimum_bayes_risk", "max_length": 3, "samples": 20, "utility": "bleu", "n_best": 20}
    choice = config.check(LIMITS | plain | named, config.MinimumBayesRisk)
    for found in run(Table(5, 1), [3, 4], choice):
        assert len({tuple(one.tokens) for one in found}) == len(found) > 1
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
