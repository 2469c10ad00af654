"""Every answer is right by a second reading of the story, no story stands in two splits, all kinds come evenly."""

import re
from collections import Counter
from typing import Any

import pytest
from tests.conftest import settings

from throughtime import config
from throughtime.data import corpus, stories
from throughtime.data.splits import SPLITS

FEW = ["data.train=600", "data.validation=60", "data.test=60"]
NUMBERS = ["none", "one", "two", "three", "four"]


def rows(*overrides: str) -> dict[str, list[dict[str, Any]]]:
    splits = corpus.read(settings("data=stories", *FEW, *overrides).data)
    return {split: list(splits[split]) for split in SPLITS}


def answer(source: str) -> str:
    """What a reader answers who goes through the sentences with patterns of their own."""
    told = re.findall(r"[^.?]+\.", source)
    (question,) = re.findall(r"[^.?]+\?", source)
    where: dict[str, str] = {}
    holds: list[tuple[str, str]] = []
    for sentence in told:
        words = sentence.split()
        person, thing = words[0], words[-2]
        match words[1:3]:
            case ["went" | "walked" | "moved", "to"]:
                where[person] = thing
                where |= {held: thing for held, holder in holds if holder == person}
            case ["is", "no"]:
                where.pop(person)
            case ["took" | "grabbed", "the"]:
                assert where.get(thing, where[person]) == where[person]
                holds.append((thing, person))
                where[thing] = where[person]
            case ["dropped", "the"]:
                holds.remove((thing, person))
            case ["gave", "the"]:
                assert where[person] == where[words[-2]]
                holds.remove((words[3], person))
                holds.append((words[3], words[-2]))
    asked = question.split()
    match asked[0]:
        case "where":
            return where[asked[-2]]
        case "who":
            return dict(holds).get(asked[-2], "nobody")
        case "is":
            return "yes" if where.get(asked[1]) == asked[-2] else "no"
    carried = [thing for thing, person in holds if person == asked[-3 if asked[0] == "how" else 2]]
    return NUMBERS[len(carried)] if asked[0] == "how" else " and ".join(carried) or "nothing"


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("kind", stories.KINDS)
def test_the_answer_follows_from_the_story(kind: str, order: str) -> None:
    found = rows(f"data.kinds=[{kind}]", "data.sentences=12", f"data.question={order}")["train"]
    assert {row["source"].endswith("?") for row in found} == {order == "last"}
    assert [row["target"] for row in found] == [answer(row["source"]) for row in found]
    assert {row["kind"] for row in found} == {kind}
    assert max(row["source"].count(" .") for row in found) == 12
    commonest = Counter(row["target"] for row in found).most_common(1)[0][1]
    assert commonest < 0.7 * len(found)  # so that one answer always given is no good


def test_no_story_is_told_twice_and_kinds_take_turns() -> None:
    found = rows()
    sources = [row["source"] for split in found.values() for row in split]
    assert len(set(sources)) == len(sources) == 720
    for split in found.values():
        counts = Counter(row["kind"] for row in split)
        assert set(counts) == set(stories.KINDS)
        assert max(counts.values()) - min(counts.values()) <= 1
    assert rows() == found


def test_more_stories_than_there_are_is_refused() -> None:
    with pytest.raises(config.Mistake, match=r"data.train=600: allowed is fewer stories, or more data.sentences"):
        rows("data.kinds=[one_fact]", "data.sentences=1")


def test_kinds_are_told_by_name() -> None:
    with pytest.raises(config.Mistake, match=r"data.kinds\[0\]=counts: allowed is .* did you mean counting\?"):
        settings("data=stories", "data.kinds=[counts]")
    with pytest.raises(config.Mistake, match=r"data.kinds=\[\]: allowed is a list of at least one kind"):
        settings("data=stories", "data.kinds=[]")
