"""What people read on a terminal."""

from typing import Any

from rich.console import Console


def console(**options: Any) -> Console:
    """A console for users' texts, which may hold brackets and colons: it takes none of them for its own."""
    return Console(markup=False, emoji=False, highlight=False, **options)
