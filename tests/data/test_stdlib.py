"""Pairs out of the standard library: what they hold, that they agree with it, and that files stay in one split."""

import ast
import asyncio
import bisect
import inspect
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from tests.conftest import settings

from throughtime.data import corpus, stdlib
from throughtime.data.splits import SPLITS


def documented(module: ModuleType) -> dict[str, stdlib.Documented]:
    path = inspect.getsourcefile(module)
    assert path is not None
    return {found.name: found for found in stdlib._documented(Path(path), module.__name__)}


def test_names_lead_to_their_docstrings() -> None:
    found = documented(textwrap)
    assert found["textwrap.TextWrapper.wrap"].docstring == inspect.getdoc(textwrap.TextWrapper.wrap)
    for name in ("dedent", "fill"):
        docstring = inspect.getdoc(getattr(textwrap, name)) or ""
        assert found[f"textwrap.{name}"].docstring == docstring
        assert stdlib.topic_of(found[f"textwrap.{name}"]) == (
            f"textwrap.{name}",
            docstring.split("\n\n")[0].replace("\n", " "),
        )


def test_a_function_is_its_code_without_the_docstring() -> None:
    summary, code = stdlib.function_of(documented(bisect)["bisect.insort_left"]) or ("", "")
    assert summary == "Insert item x in list a, and keep it sorted assuming a is sorted."
    assert '"""' not in code and "#" not in code
    space: dict = {"bisect_left": bisect.bisect_left}
    exec(code, space)
    numbers = [1, 3, 5]
    space["insort_left"](numbers, 4)
    assert numbers == [1, 3, 4, 5]


def test_a_summary_is_what_stands_above_the_body() -> None:
    body, summary = stdlib.summary_of(documented(bisect)["bisect.insort_left"]) or ("", "")
    assert summary == "Insert item x in list a, and keep it sorted assuming a is sorted."
    assert body.startswith("If x is already in a,") and "\n" not in body


@pytest.fixture
def part_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only asyncio, for speed."""
    monkeypatch.setattr(stdlib, "LIBRARY", Path(asyncio.__file__).parent)


@pytest.mark.usefixtures("part_of_the_library")
@pytest.mark.parametrize("name", ["stdlib_summaries", "stdlib_functions", "stdlib_topics"])
def test_pairs_stand_in_one_split_and_are_short(name: str) -> None:
    shares = ["data.validation_share=0.2", "data.test_share=0.2"]
    splits = corpus.read(settings(f"data={name}", "data.longest=300", *shares).data)
    found = {split: set(zip(splits[split]["source"][:], splits[split]["target"][:], strict=True)) for split in SPLITS}
    total = sum(map(len, found.values()))
    assert total == len(set().union(*found.values())) > 100
    assert 0.2 * total <= min(len(found["validation"]), len(found["test"]))
    assert len(found["train"]) > 0.3 * total
    assert max(max(map(len, pair)) for pairs in found.values() for pair in pairs) <= 300
    if name == "stdlib_functions":
        assert all(ast.unparse(ast.parse(code)) == code for _, code in found["test"])


@pytest.mark.usefixtures("part_of_the_library")
def test_a_file_stays_in_one_split() -> None:
    splits = corpus.read(settings("data=stdlib_topics").data)
    files = {split: {name.split(".")[0] for name in splits[split]["source"]} for split in SPLITS}
    assert all(files.values())
    assert (
        not files["train"] & files["validation"] | files["train"] & files["test"] | files["validation"] & files["test"]
    )
