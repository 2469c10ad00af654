"""Scores against their definitions, written out here, and what they say of texts that are easy to judge."""

import math
from itertools import pairwise

import pytest

from throughtime import config
from throughtime.train import quality

REFERENCES = ["Return the number of items in the list.", "def f(x):\n    return x + 1"]


@pytest.mark.parametrize("score", quality.MEASURES)
def test_a_text_that_equals_its_reference_is_best(score: str) -> None:
    perfect = quality.MEASURES[score](REFERENCES[1:], REFERENCES[1:])
    other = quality.MEASURES[score](["so what :"], REFERENCES[1:])
    worst, best = (other, perfect) if quality.direction(f"val/{score}") == "max" else (perfect, other)
    assert worst < best
    assert perfect == pytest.approx(0 if quality.direction(score) == "min" else 100)


def test_texts_without_spaces_are_split_as_their_language_is() -> None:
    """A sentence without spaces is one word to the default, and so all right or all wrong."""
    ours, theirs = ["机器学习很有意思吗"], ["机器学习很有意思吧"]
    assert quality.MEASURES["bleu"](ours, theirs) < 1
    n_grams = [(9 - size) / (10 - size) for size in range(1, 5)]  # of which each size has one wrong
    expected = 100 * math.prod(n_grams) ** 0.25
    for score in ("bleu_zh", "bleu_char"):
        assert quality.MEASURES[score](ours, theirs) == pytest.approx(expected)


def test_the_error_rate_of_texts_that_should_be_empty_is_a_number() -> None:
    assert quality.token_error_rate(["", ""], ["", " "]) == 0
    assert quality.token_error_rate(["a b", "c"], ["", ""]) == 3


def test_every_score_of_the_schema_has_its_function() -> None:
    assert set(quality.MEASURES) == set(config.get_args(config.Score))


def test_direction_of_what_is_no_text_score() -> None:
    for name in ("loss", "val/perplexity", "test/bits_per_character", "bits_per_token"):
        assert quality.direction(name) == "min"


def longest_common(ours: list[str], theirs: list[str]) -> int:
    """By its recursive definition."""
    if not ours or not theirs:
        return 0
    if ours[-1] == theirs[-1]:
        return 1 + longest_common(ours[:-1], theirs[:-1])
    return max(longest_common(ours[:-1], theirs), longest_common(ours, theirs[:-1]))


def test_rouge_is_its_definition() -> None:
    ours, theirs = "The cat sat on a mat!", "a cat, and the cat sat"
    first, second = ["the", "cat", "sat", "on", "a", "mat"], ["a", "cat", "and", "the", "cat", "sat"]
    pairs = [list(pairwise(words)) for words in (first, second)]
    overlap = {
        "rouge1": sum(min(first.count(word), second.count(word)) for word in set(first)),
        "rouge2": sum(min(pairs[0].count(pair), pairs[1].count(pair)) for pair in set(pairs[0])),
        "rougeL": longest_common(first, second),
    }
    for key, common in overlap.items():
        size = 5 if key == "rouge2" else 6
        f1 = 2 * (common / size) ** 2 / (2 * common / size)
        assert quality.MEASURES[key]([ours], [theirs]) == pytest.approx(100 * f1)
        assert quality.MEASURES[key]([ours, theirs], [theirs, theirs]) == pytest.approx(50 * f1 + 50)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("return x", True),
        ("  if x is not None :", True),
        ("def f(self):\n    return 1", True),
        ("def f(self)\n    return 1", False),
        ("x = (1, 2", False),
        ("", False),
        ("\0", False),
        ("'\\d' is 1", True),
    ],
)
def test_what_parses(text: str, parsed: bool, recwarn: pytest.WarningsRecorder) -> None:
    assert quality.is_python(text) == parsed
    assert not recwarn


def test_python_tokens_are_those_of_the_language() -> None:
    tokens = quality.python_tokens("if a[1:]==b:\n    print('two words')")
    words = ["if", "a", "[", "1", ":", "]", "==", "b", ":", "NEWLINE", "INDENT", "print", "(", "'two_words'", ")"]
    assert tokens == [*words, "NEWLINE", "DEDENT", "ENDMARKER"]
    assert quality.python_tokens("x = (1,")[:5] == ["x", "=", "(", "1", ","]


def test_spacing_is_no_matter_to_token_bleu() -> None:
    assert quality.token_bleu(["def f(x):\n  return x+1"], REFERENCES[1:]) == pytest.approx(100)
    assert quality.token_bleu(["def f(x): return x+1"], REFERENCES[1:]) < 90


def test_matches_of_each_kind() -> None:
    found = quality.matches_by_kind(["a", "b", "c", "d"], ["a", "x", "c", "d"], ["one", "one", "two", "two"])
    assert found == {"exact_match/one": 50.0, "exact_match/two": 100.0}
