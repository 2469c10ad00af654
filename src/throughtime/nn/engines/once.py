"""What the engines tell the user where they cannot do as they were asked."""

from functools import cache

from rich.console import Console


@cache
def tell_once(sentence: str) -> None:
    """On standard error, once in a process."""
    Console(stderr=True, soft_wrap=True).print(sentence)
