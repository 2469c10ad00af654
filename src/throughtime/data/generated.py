"""Corpora that need no download: numbers in words, and the standard library's docstrings."""

import ast
import platform
import random
import sysconfig
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Dataset
from num2words import CONVERTER_CLASSES, num2words

from throughtime import config

Splits = dict[str, Dataset]


def number_words_identity(data: config.NumberWords) -> dict[str, Any]:
    """What determines the pairs: the settings and num2words' version."""
    return {**config.plain(data), "num2words": version("num2words")}


def number_words(data: config.NumberWords) -> Splits:
    """Numbers drawn without replacement, so that no number stands in two splits."""
    for setting in ("source_language", "target_language"):
        language = getattr(data, setting)
        if language not in CONVERTER_CLASSES:
            known = sorted(CONVERTER_CLASSES)
            raise config.wrong(
                f"data.{setting}", language, f"one of {' '.join(known)}{config.nearest(language, known)}"
            )
    wanted = data.train + data.validation + data.test
    numbers = random.Random(0).sample(range(data.smallest, data.largest + 1), wanted)
    ends = {"train": data.train, "validation": data.train + data.validation, "test": wanted}
    starts = {"train": 0, "validation": ends["train"], "test": ends["validation"]}
    return {split: _in_words(data, numbers[starts[split] : ends[split]]) for split in ends}


def _in_words(data: config.NumberWords, numbers: list[int]) -> Dataset:
    return Dataset.from_dict(
        {
            "source": [num2words(number, lang=data.source_language) for number in numbers],
            "target": [num2words(number, lang=data.target_language) for number in numbers],
        }
    )


def stdlib_docs_identity(data: config.StdlibDocs) -> dict[str, Any]:
    """What determines the text: the settings and this Python's version."""
    return {
        **config.plain(data),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
    }


def stdlib_docs(data: config.StdlibDocs) -> Splits:
    """The docstrings, file by file; whole files go to validation and test, so that neither repeats training text."""
    by_file = list(_docstrings(Path(sysconfig.get_path("stdlib"))))
    random.Random(0).shuffle(by_file)
    total = sum(map(len, by_file))
    splits: dict[str, list[str]] = {"validation": [], "test": [], "train": []}
    budget = {"validation": data.validation_share * total, "test": data.test_share * total, "train": total}
    for text in by_file:
        split = next(split for split in splits if sum(map(len, splits[split])) < budget[split])
        splits[split].append(text)
    return {split: Dataset.from_dict({"text": texts}) for split, texts in splits.items()}


def _docstrings(library: Path) -> Iterator[str]:
    """One text per source file: its docstrings in order, repetitions over all files left out."""
    seen: set[str] = set()
    for path in sorted(library.rglob("*.py")):
        if {"site-packages", "test", "tests", "idle_test"} & set(path.relative_to(library).parts):
            continue
        fresh = [doc for doc in _docstrings_of(path) if doc not in seen and not seen.add(doc)]  # type: ignore[func-returns-value]
        if fresh:
            yield "\n\n".join(fresh) + "\n\n"


def _docstrings_of(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # the library ships files that are wrong on purpose
        return []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    return [doc for doc in found if doc]
