"""What the engines tell the user when they cannot do what was asked."""

import sys
from functools import cache


@cache
def tell_once(sentence: str) -> None:
    """On standard error, once in a process."""
    print(sentence, file=sys.stderr, flush=True)
