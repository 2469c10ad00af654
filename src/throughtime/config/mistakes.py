"""What a user can correct, reported in one sentence."""

from difflib import get_close_matches
from typing import Any


class Mistake(Exception):
    """Something that a user can correct; its text is the one sentence shown."""


def wrong(setting: str, value: object, allowed: str) -> Mistake:
    """The sentence for a setting whose value is not allowed."""
    return Mistake(f"{setting}={shown(value)}: allowed is {allowed}{'' if allowed.endswith('?') else '.'}")


def sentence(error: BaseException) -> str:
    """What went wrong, in one sentence: what the operating system refused, else the error's own words."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'} can't be used: {error.strerror}."
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line) or type(error).__name__


def shown(value: object) -> str:
    """A value as the user wrote it."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def nearest(word: str, known: list[str]) -> str:
    """A hint at the known word that is most like `word`, or nothing."""
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def alternatives(words: list[Any]) -> str:
    """Words as a list in a sentence."""
    *others, last = map(str, words)
    return f"{', '.join(others)} or {last}" if others else last
