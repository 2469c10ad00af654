"""Numbers in words, from one language to another: a small translation task that needs no download."""

import random
from importlib.metadata import version
from itertools import pairwise
from typing import Any

from datasets import Dataset
from num2words import CONVERTER_CLASSES, num2words

from throughtime import config

SIDES = ("source", "target")


def identity(data: config.NumberWords) -> dict[str, Any]:
    """What determines the pairs: the settings, how numbers are drawn, and num2words' version."""
    return {**config.plain(data), "drawn": "by digits", "num2words": version("num2words")}


def number_words(data: config.NumberWords) -> dict[str, Dataset]:
    """Numbers in words; no number is in two splits."""
    for setting in ("source_language", "target_language"):
        language = getattr(data, setting)
        if language not in CONVERTER_CLASSES:
            known = sorted(CONVERTER_CLASSES)
            raise config.wrong(
                f"data.{setting}", language, f"one of {' '.join(known)}{config.nearest(language, known)}"
            )
    wanted = data.train + data.validation + data.test
    numbers = drawn(data.smallest, data.largest, wanted)
    ends = {"train": data.train, "validation": data.train + data.validation, "test": wanted}
    starts = {"train": 0, "validation": ends["train"], "test": ends["validation"]}
    sides = {side: _in_words(f"data.{side}_language", getattr(data, f"{side}_language"), numbers) for side in SIDES}
    return {
        split: Dataset.from_dict({side: words[starts[split] : ends[split]] for side, words in sides.items()})
        for split in ends
    }


def drawn(smallest: int, largest: int, wanted: int) -> list[int]:
    """Different numbers in random order, as many of each number of digits as there are, or as of any longer ones: drawn
    evenly, hardly one of a million would be short."""
    edges = [10**digits for digits in range(1, len(str(largest))) if 10**digits > smallest]
    bands = [range(*band) for band in pairwise([smallest, *edges, largest + 1])]
    draw, numbers = random.Random(0), list[int]()
    for place, band in enumerate(sorted(bands, key=len)):  # what a small one lacks the others make up for
        numbers += draw.sample(band, min(len(band), (wanted - len(numbers)) // (len(bands) - place)))
    draw.shuffle(numbers)
    return numbers


def _in_words(setting: str, language: str, numbers: list[int]) -> list[str]:
    """The numbers as the language writes them.

    Raises:
        Mistake: it has no words for one of them.
    """
    words = []
    for number in numbers:
        try:
            words.append(num2words(number, lang=language))
        except Exception as error:  # each of the library's languages fails in a way of its own
            raise config.wrong(setting, language, f"a language in which num2words can write {number}") from error
    return words
