"""A command line as it is written: Hydra's flags, and overrides."""

import re
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from throughtime import config

WITH_VALUE = {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"}
INFORMED = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}  # what may follow --info


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides."""
    values = {
        place
        for place, (flag, after) in enumerate(pairwise(arguments), start=1)
        if flag in WITH_VALUE or (flag in ("--info", "-i") and after in INFORMED)
    }
    flags, overrides = list[str](), list[str]()
    for place, text in enumerate(arguments):
        (flags if text.startswith("-") or place in values else overrides).append(text)
    return flags, overrides


def overrides_in(arguments: Sequence[str]) -> list[str]:
    """The overrides alone."""
    return split(arguments)[1]


def parsed(text: str) -> Override:
    """One override.

    Raises:
        Mistake: it can't be read.
    """
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        quoted = f"'{text.partition('=')[0]}=\"...\"'"
        raise config.Mistake(
            f"{text} can't be read: allowed is setting=value, with quotes {quoted} around a value that holds = , or brackets."
        ) from error


def place_of(override: Override) -> str:
    """What an override sets: `cell` and `cell@encoder.cell` are two places."""
    return override.key_or_group + (f"@{override.package}" if override.package else "")


def as_text(setting: str, value: str) -> str:
    """The override that sets a text, whatever its characters."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    return f"{setting}='{escaped}'"


def as_written(text: str, checked: Any) -> str:
    """An override with quotes around text that looks like a number, else run.name=2024_01 would become 202401."""
    override, (key, _, value) = parsed(text), text.partition("=")
    meant = reduce(lambda part, name: getattr(part, name, None), override.key_or_group.split("."), checked)
    texts = all(isinstance(word, str) for word in (meant if isinstance(meant, list) else [meant]))
    if not texts or override.is_delete() or set("\"'({\\") & set(value):
        return text
    return f"{key}={re.sub(r'[^][,]+', _in_quotes, value)}"


def _in_quotes(found: re.Match[str]) -> str:
    """A word, in quotes if it is a number that would be written differently."""
    word = found.group().strip()
    value = parsed(f"word={word}").value()
    return f'"{word}"' if type(value) in (int, float) and str(value) != word else found.group()
