"""Plain values checked against the schema, and the schema turned back into plain values."""

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from throughtime.config.mistakes import Mistake, alternatives, nearest, wrong
from throughtime.config.ranges import Range

Schema = TypeVar("Schema")


def check(values: Mapping[str, Any], schema: type[Schema], where: str = "") -> Schema:
    """Builds `schema` out of plain values.

    Raises:
        Mistake: an unknown or missing setting, a wrong type, a value out of range.
    """
    hints = get_type_hints(schema, include_extras=True)
    for key in values:
        if key not in hints:
            raise Mistake(f"{where}{key} is no setting{nearest(key, list(hints))}")
    for key in hints:
        if key not in values and not hasattr(schema, key):  # a default is what held before the setting existed
            raise Mistake(f"{where}{key} is missing.")
    return schema(**{key: _value(values[key], hints[key], f"{where}{key}") for key in hints if key in values})


def without_leftovers(values: Mapping[str, Any], schema: type) -> dict[str, Any]:
    """The values without leftovers of a choice that another of its group has replaced, as when a recipe sets its own
    choice.

    What no choice of the group knows is kept, for `check` to refuse.
    """
    hints = get_type_hints(schema, include_extras=True)
    return {key: _chosen_alone(value, hints[key]) if key in hints else value for key, value in values.items()}


def _chosen_alone(value: Any, kind: Any) -> Any:
    """A section's values, restricted to those of the choice that its `name` gives."""
    sections = [part for part in (get_args(kind) or (kind,)) if is_dataclass(part)]
    chosen = _named(value, sections) if isinstance(value, Mapping) else None
    if chosen is None:
        return value
    known = {section: {field.name for field in fields(section)} for section in sections}
    others = set().union(*known.values()) - known[chosen]
    return without_leftovers({key: inner for key, inner in value.items() if key not in others}, chosen)


def _named(value: Mapping[str, Any], sections: list[Any]) -> Any:
    """The section whose `name` literal is the one given, or None; a section without a name is the only one."""
    if len(sections) == 1:
        return sections[0]
    return next((section for name, section in _by_name(sections).items() if name == value.get("name")), None)


def _by_name(sections: list[Any]) -> dict[Any, Any]:
    return {name: section for section in sections for name in get_args(get_type_hints(section).get("name"))}


def _value(value: Any, kind: Any, where: str) -> Any:
    """`value` in the form that the annotation `kind` demands."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _in_range(_value(value, get_args(kind)[0], where), get_args(kind)[1], where)
    if origin in (Union, types.UnionType):
        return _one_of(value, get_args(kind), where)
    if origin is Literal:
        return _choice(value, get_args(kind), where)
    if origin is list:
        if not isinstance(value, list):
            raise wrong(where, value, "a list")
        return [_value(item, get_args(kind)[0], f"{where}[{place}]") for place, item in enumerate(value)]
    if is_dataclass(kind):
        return _section(value, [kind], where)
    return _scalar(value, kind, where)


def _in_range(value: Any, bounds: Range, where: str) -> Any:
    if isinstance(value, float) and math.isinf(value):
        raise wrong(where, value, "a finite number")
    if not bounds.holds(value):
        raise wrong(where, value, f"a number {bounds}")
    return value


def _one_of(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    sections = [kind for kind in kinds if is_dataclass(kind)]
    if sections:
        return _section(value, sections, where)
    inner = [kind for kind in kinds if kind is not type(None)]
    inner = [kind for kind in inner if (get_origin(kind) is list) == isinstance(value, list)] or inner
    for kind in inner[:-1]:
        try:
            return _value(value, kind, where)
        except Mistake:
            continue
    return _value(value, inner[-1], where)


def _section(value: Any, sections: list[Any], where: str) -> Any:
    """The section whose `name` literal is the one given; a section without a name is the only one."""
    if not isinstance(value, Mapping):
        raise wrong(where, value, "a group of settings")
    if names := tuple(_by_name(sections)):
        _choice(value.get("name"), names, where)
    return check(value, _named(value, sections), f"{where}.")


def _choice(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    if value not in choices:
        raise wrong(
            where, value, alternatives(list(choices)) + nearest(str(value), [str(choice) for choice in choices])
        )
    return value


_SCALARS: dict[type, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (
        lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value % 1 == 0,
        "a whole number",
    ),
    float: (lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number"),
    str: (lambda value: isinstance(value, str), "a text"),
}


def _scalar(value: Any, kind: type, where: str) -> Any:
    fits, words = _SCALARS[kind]
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not fits(value):
        raise wrong(where, value, words)
    return kind(value)


def plain(config: Any) -> Any:
    """The config as dicts, lists and scalars: what `config.yaml` and checkpoints hold."""
    if is_dataclass(config):
        return {field.name: plain(getattr(config, field.name)) for field in fields(config)}
    return [plain(item) for item in config] if isinstance(config, list) else config
