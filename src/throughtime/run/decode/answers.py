"""How a decoded line is written to the output, and read back: docs/decoding.md lists the fields."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from throughtime import config
from throughtime.data.tokenizer import Tokenizer
from throughtime.run.decode.sources import Source
from throughtime.search import Hypothesis

Result = dict[str, Any]
NOTHING = Hypothesis(tokens=[], log_probability=0.0, score=0.0, length=0, finished=True)  # answers a line without text


class Answer(NamedTuple):
    """What is written for the line at `place`; its `gist` for the tally (the best text, or log-probability and length);
    and remarks on the line for the user."""

    place: int
    written: str
    gist: Any
    remarks: list[str]


class Tally(Protocol):
    """What a job adds up over all its lines, and prints at its end."""

    def take_up(self, written: Iterable[bytes], source: Source) -> None:
        """Adds the answers that an earlier job wrote."""

    def add(self, answers: Sequence[Answer]) -> None:
        """Adds answers."""

    def report(self) -> None:
        """Prints the sum."""


class NoTally:
    """The tally of a job that has nothing to add up."""

    def take_up(self, written: Iterable[bytes], source: Source) -> None:
        pass

    def add(self, answers: Sequence[Answer]) -> None:
        pass

    def report(self) -> None:
        pass


def described(hypotheses: Sequence[Hypothesis], tokenizer: Tokenizer) -> list[Result]:
    """Hypotheses as the plain data of JSON lines."""
    return [
        {
            **hypothesis.described(tokenizer.decode),
            "normalised_score": hypothesis.log_probability / max(1, hypothesis.length),
            "tokens": [tokenizer.decode([token]) for token in hypothesis.tokens],
        }
        for hypothesis in hypotheses
    ]


def as_json(result: Result) -> str:
    """One JSON object per line."""
    return json.dumps(result, ensure_ascii=False) + "\n"


def as_text(result: Result, several: bool) -> str:
    """The best hypothesis; with `several`, one line each: line number, score and text, separated by tabs."""
    hypotheses = result["hypotheses"]
    if not several:
        return on_one_line(hypotheses[0]["text"]) + "\n"
    return "".join(f"{result['line']}\t{one['score']:.4f}\t{on_one_line(one['text'])}\n" for one in hypotheses)


def gives_several(search: config.Search) -> bool:
    """Whether a line may get more than one hypothesis."""
    match search:
        case config.Beam() | config.MinimumBayesRisk():
            return search.n_best > 1
        case config.Sample():
            return search.samples > 1
        case config.StochasticBeam():
            return search.size > 1
        case _:
            return False


def on_one_line(text: str) -> str:
    """A text with its line breaks written as backslash and letter."""
    return text.replace("\r", "\\r").replace("\n", "\\n")


def read_back(text: str) -> str:
    """The inverse of `on_one_line`; what already looked like an escaped line break becomes one, too."""
    return text.replace("\\r", "\r").replace("\\n", "\n")


def best_texts(written: Iterable[bytes], as_json: bool, several: bool) -> list[str]:
    """The best text of each line, from what was written for it."""
    lines = (line.decode().removesuffix("\n") for line in written)
    if as_json:
        return [json.loads(line)["hypotheses"][0]["text"] for line in lines]
    return [read_back(text) for text in (_first_of_each(lines) if several else lines)]


def _first_of_each(lines: Iterable[str]) -> Iterator[str]:
    last = ""
    for line in lines:
        number, _, text = line.split("\t", maxsplit=2)
        if number != last:
            yield text
        last = number
