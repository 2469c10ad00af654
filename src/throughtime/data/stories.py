"""Stories of people who walk about and carry things, each with a question: in the style of bAbI (Weston et al. 2015).

Nothing is taken from there; a small world is played through, one sentence for each thing that happens in it.
"""

import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from datasets import Dataset

from throughtime import config
from throughtime.data.splits import SPLITS

VERSION = 1  # of the generator, for the cache
PEOPLE = ("anna", "ben", "carla", "david")
PLACES = ("attic", "cellar", "garden", "kitchen", "library", "office")
THINGS = ("apple", "book", "key", "lamp")
NUMBERS = ("none", "one", "two", "three", "four")
PATIENCE = 1000  # stories in a row that were told before: then there are no others

Questions = list[tuple[str, str]]


class World:
    """What is known of the world after the sentences told so far.

    `place`: person -> place; `left`: person -> the place that they are known to have left, for somewhere unknown; `held`:
    thing -> who has it, the first taken first; `lying`: thing -> where it was dropped. What was never told of stands
    nowhere.
    """

    def __init__(self, draw: random.Random):
        self._draw = draw
        self.place: dict[str, str] = {}
        self.left: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self.lying: dict[str, str] = {}
        self.visited: list[str] = []

    def walk(self) -> str:
        """Somebody goes somewhere else."""
        person = self._draw.choice(PEOPLE)
        place = self._draw.choice([place for place in PLACES if place != self.place.get(person)])
        self.place[person] = place
        self.left.pop(person, None)
        self.visited = [*dict.fromkeys([*self.visited, place])]
        return f"{person} {self._draw.choice(('went', 'walked', 'moved'))} to the {place} ."

    def leave(self) -> str | None:
        """Somebody goes, and nobody knows where to."""
        if not self.place:
            return None
        person = self._draw.choice(list(self.place))
        self.left[person] = self.place.pop(person)
        return f"{person} is no longer in the {self.left[person]} ."

    def take(self) -> str | None:
        """Somebody takes what lies there, or what was never told of."""
        free = [thing for thing in THINGS if thing not in self.held]
        able = [(who, thing) for who in self.place for thing in free if self._reaches(who, thing)]
        if not able:
            return None
        person, thing = self._draw.choice(able)
        self.held[thing] = person
        self.lying.pop(thing, None)
        return f"{person} {self._draw.choice(('took', 'grabbed'))} the {thing} ."

    def _reaches(self, person: str, thing: str) -> bool:
        return self.lying.get(thing, self.place[person]) == self.place[person]

    def drop(self) -> str | None:
        """Somebody leaves a thing where they are."""
        if not self.held:
            return None
        thing = self._draw.choice(list(self.held))
        person = self.held.pop(thing)
        self.lying[thing] = self.place[person]
        return f"{person} dropped the {thing} ."

    def give(self) -> str | None:
        """Somebody hands a thing to somebody in the same place."""
        able = [
            (giver, thing, taker)
            for thing, giver in self.held.items()
            for taker, place in self.place.items()
            if taker != giver and place == self.place[giver]
        ]
        if not able:
            return None
        giver, thing, taker = self._draw.choice(able)
        del self.held[thing]
        self.held[thing] = taker
        return f"{giver} gave the {thing} to {taker} ."

    def things_of(self, person: str) -> list[str]:
        """What a person carries, the first taken first."""
        return [thing for thing, holder in self.held.items() if holder == person]


Event = Callable[[World], str | None]
WALKING: tuple[Event, ...] = (World.walk,)
LEAVING: tuple[Event, ...] = (World.walk, World.leave)
CARRYING: tuple[Event, ...] = (World.walk, World.take, World.take, World.drop, World.give)


def one_fact(world: World) -> Questions:
    """Where a person is: the last sentence on them tells it (bAbI 1)."""
    return [(f"where is {person} ?", place) for person, place in world.place.items()]


def two_facts(world: World) -> Questions:
    """Where a thing is: one sentence tells who has it, another where they are (bAbI 2)."""
    held = [(thing, world.place[person]) for thing, person in world.held.items()]
    return [(f"where is the {thing} ?", place) for thing, place in [*held, *world.lying.items()]]


def who_has(world: World) -> Questions:
    """Who has a thing by now (bAbI 5 asks of its giving)."""
    told = [*world.held, *world.lying]
    return [(f"who has the {thing} ?", world.held.get(thing, "nobody")) for thing in told]


def yes_no(world: World) -> Questions:
    """Whether a person is in a place of the story (bAbI 6)."""
    return [
        (f"is {person} in the {asked} ?", "yes" if asked == place else "no")
        for person, place in world.place.items()
        for asked in world.visited
    ]


def counting(world: World) -> Questions:
    """How many things a person carries (bAbI 7)."""
    told = world.place if world.held else ()
    return [(f"how many things does {who} carry ?", NUMBERS[len(world.things_of(who))]) for who in told]


def listing(world: World) -> Questions:
    """Which things a person carries, the first taken first (bAbI 8)."""
    told = world.place if world.held else ()
    return [(f"what does {who} carry ?", " and ".join(world.things_of(who)) or "nothing") for who in told]


def negation(world: World) -> Questions:
    """Whether a person is in a place, where some sentences tell only that they left it (bAbI 9)."""
    return yes_no(world) + [(f"is {person} in the {place} ?", "no") for person, place in world.left.items()]


class Kind(NamedTuple):
    """What happens in the stories of a kind, and all that may be asked at their end."""

    events: tuple[Event, ...]
    questions: Callable[[World], Questions]


class Story(NamedTuple):
    """What is read, and what is to be answered."""

    text: str
    question: str
    answer: str


KINDS = {
    "one_fact": Kind(WALKING, one_fact),
    "two_facts": Kind(CARRYING, two_facts),
    "who_has": Kind(CARRYING, who_has),
    "yes_no": Kind(WALKING, yes_no),
    "counting": Kind(CARRYING, counting),
    "listing": Kind(CARRYING, listing),
    "negation": Kind(LEAVING, negation),
}


def identity(data: config.Stories) -> dict[str, Any]:
    """What determines the stories: the settings and the generator."""
    return {**config.plain(data), "generator": VERSION}


def stories(data: config.Stories) -> dict[str, Dataset]:
    """Rows with `source` (a question and its story), `target` (the answer) and `kind`; no story is told twice."""
    told, splits = _unheard(data), {}
    for split in SPLITS:
        rows = list(islice(told, getattr(data, split)))
        if len(rows) < getattr(data, split):
            raise config.wrong(f"data.{split}", getattr(data, split), "fewer stories, or more data.sentences for them")
        splits[split] = Dataset.from_list(rows)
    return splits


def _unheard(data: config.Stories) -> Iterator[dict[str, str]]:
    """Different stories, the kinds in turn, as long as there are any."""
    draw, heard, failures = random.Random(0), set[Story](), 0
    kinds, turn = list(dict.fromkeys(data.kinds)), 0
    while failures < PATIENCE:
        kind = kinds[turn % len(kinds)]
        told = story(KINDS[kind], draw.randint(min(2, data.sentences), data.sentences), draw)
        if told is None or told in heard:
            failures += 1
            continue
        heard.add(told)
        turn, failures = turn + 1, 0
        source = (told.question, told.text) if data.question == "first" else (told.text, told.question)
        yield {"source": " ".join(source), "target": told.answer, "kind": kind}


def story(kind: Kind, sentences: int, draw: random.Random) -> Story | None:
    """One story; None where nothing can be asked at its end. The answer is drawn first, the question to it
    after that, so that yes is as likely as no."""
    world = World(draw)
    told = [draw.choice(kind.events)(world) or world.walk() for _ in range(sentences)]
    questions = kind.questions(world)
    if not questions:
        return None
    answer = draw.choice(sorted({answer for _, answer in questions}))
    question = draw.choice([asked for asked, answered in questions if answered == answer])
    return Story(" ".join(told), question, answer)
