"""On a terminal: a prompt for each line and, if a search never takes a token back, its tokens as they are produced."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from torch import Tensor

from throughtime import config
from throughtime.nn.state import State
from throughtime.run.decode.answers import on_one_line
from throughtime.run.decode.output import StandardOutput
from throughtime.run.decode.reading import Block, Line
from throughtime.run.decode.sources import Source
from throughtime.search.stepper import Batch, Scores, Stepper

PROMPT = "> "


def is_typed(source: Source) -> bool:
    """Whether the lines of a source are typed on a terminal."""
    return source.path is None and sys.stdin is not None and sys.stdin.isatty()


def typed() -> Iterator[Block | None]:
    """Lines as they are typed, one by one, until the input ends (Ctrl-D); arrow keys edit and recall them."""
    with suppress(ImportError):
        import readline  # noqa: F401
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    place = 0
    with suppress(EOFError):
        while True:
            yield None
            place += 1
            yield [Line(place, _next_line().encode(errors="surrogateescape"))]
    print(file=sys.stderr)


def _next_line() -> str:
    """What is typed after the prompt, which never goes into an output that is not the terminal."""
    if sys.stdout.isatty():
        return input(PROMPT)
    print(PROMPT, end="", file=sys.stderr, flush=True)
    return input()


class Typewriter(StandardOutput):
    """Standard output that may already have shown the beginning of an answer."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, text: str) -> None:
        """Shows what a text adds to what has been shown; a character waits until all its bytes are there."""
        line = on_one_line(text)
        if line.startswith(self._shown) and not line.endswith("\ufffd"):
            self._write(line.removeprefix(self._shown))
            self._shown = line

    def add(self, block: Block, written: str) -> None:
        """Writes the rest of the answer."""
        self._write(written.removeprefix(self._shown))
        self._shown = ""


class Watched:
    """A stepper of one hypothesis that shows the text of the tokens that it is given, as they come in."""

    def __init__(self, stepper: Stepper, write: Callable[[Sequence[int]], str], show: Callable[[str], None]):
        self._stepper, self._write, self._show = stepper, write, show
        self._tokens: list[int] | None = None

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        self._tokens = None  # the first token to step with is not yet part of the answer
        return self._stepper.start(batch)

    def step(self, tokens: Tensor, state: State) -> tuple[Scores, State]:
        if self._tokens is None:
            self._tokens = []
        else:
            self._tokens.append(int(tokens[0, 0]))
            self._show(self._write(self._tokens))
        return self._stepper.step(tokens, state)

    def narrowed(self, words: Sequence[int]) -> "Watched":
        return Watched(
            self._stepper.narrowed(words), lambda places: self._write([words[place] for place in places]), self._show
        )

    def reorder(self, state: State, rows: Tensor, sentences: Tensor | None = None) -> State:
        return self._stepper.reorder(state, rows, sentences)


def shows_tokens(settings: config.DecodeConfig, sources: Sequence[Source]) -> bool:
    """Whether a job answers typed lines, in this process, as text, by a search that only ever appends."""
    alone = isinstance(settings.search, config.Greedy) or (
        isinstance(settings.search, config.Sample) and settings.search.samples == 1
    )
    first = sources[0]
    plain = settings.mode == "search" and not first.writes_json and first.target is None
    return alone and plain and settings.devices == 1 and is_typed(first)
