"""Round trips, unknowns, special ids, and plain data."""

import json
from dataclasses import replace

import pytest

from throughtime import config
from throughtime.data import tokenizer
from throughtime.data.tokenizer import BOS, EOS, PAD, SPECIALS, UNK

TEXTS = ["the cat sat\n", "  two  spaces\tand a tab", "Übergröße, ça va? 東京 🙂", "<pad><bos>\r\n", ""]
LEARNED = {
    "byte": config.PlainTokenizer("byte", False, False),
    "char": config.PlainTokenizer("char", False, False),
    "word": config.LearnedTokenizer("word", 50, False, False),
    "bpe": config.LearnedTokenizer("bpe", 300, False, False),
}


@pytest.mark.parametrize("name", ["byte", "char", "bpe"])
def test_exact_round_trip(name: str) -> None:
    found = tokenizer.fit(LEARNED[name], TEXTS)
    for text in TEXTS:
        assert found.decode(found.encode(text)) == text
        assert min(found.encode(text), default=SPECIALS) >= SPECIALS


@pytest.mark.parametrize("name", LEARNED)
def test_plain_data_makes_an_equal_tokenizer(name: str) -> None:
    found = tokenizer.fit(LEARNED[name], TEXTS)
    twin = tokenizer.from_state(json.loads(json.dumps(found.state())))
    assert twin.size == found.size
    assert twin.encode_batch(TEXTS) == found.encode_batch(TEXTS) == [found.encode(text) for text in TEXTS]
    ids = [PAD, BOS, *found.encode(TEXTS[0]), EOS, PAD]
    assert twin.decode(ids) == found.decode(found.encode(TEXTS[0]))
    assert all(0 <= id < found.size for text in TEXTS for id in found.encode(text))


@pytest.mark.parametrize("name", ["byte", "bpe"])
def test_bytes_know_every_text(name: str) -> None:
    found = tokenizer.fit(LEARNED[name], ["only this"])
    unseen = "né à Ωmega 🙂"
    assert found.decode(found.encode(unseen)) == unseen


def test_words_keep_lines_and_the_most_frequent() -> None:
    found = tokenizer.fit(config.LearnedTokenizer("word", SPECIALS + 3, False, False), ["a b a\n", "b c a\n"])
    assert found.size == SPECIALS + 3
    assert found.decode(found.encode("a b\nb a\n")) == "a b\nb a\n".rstrip(" ")
    assert found.encode("c")[0] == UNK
    assert found.decode(found.encode("a c")) == "a \ufffd"


def test_white_space_of_any_kind_parts_words() -> None:
    found = tokenizer.fit(config.LearnedTokenizer("word", 100, False, False), ["a b\r\nc\td\r\n"])
    assert sorted(found.vocabulary) == ["\n", "a", "b", "c", "d"]  # type: ignore[attr-defined]
    assert found.encode("a b\r\nc\td\r\n") == found.encode("a  b\nc d\n")


def test_an_unseen_character_is_named() -> None:
    found = tokenizer.fit(LEARNED["char"], ["abc"])
    with pytest.raises(config.Mistake, match=r"input line 3='z': allowed is a character"):
        tokenizer.encode_known(found, "abz", "input line 3")


def test_a_vocabulary_too_small_for_bytes_is_refused() -> None:
    with pytest.raises(config.Mistake, match="tokenizer.vocabulary=100: allowed is a number of at least 260"):
        tokenizer.fit(config.LearnedTokenizer("bpe", 100, False, False), TEXTS)


@pytest.mark.parametrize("choice", LEARNED.values(), ids=LEARNED)
def test_lowercase_reads_as_if_without_capitals(choice: config.Tokenizer) -> None:
    shy = tokenizer.fit(replace(choice, lowercase=True), TEXTS)
    again = tokenizer.from_state(json.loads(json.dumps(shy.state())))
    assert shy.encode("ABba") == again.encode("abBA") == shy.encode("abba")
    assert not any(letter.isupper() for text in TEXTS for letter in shy.decode(shy.encode(text)))
