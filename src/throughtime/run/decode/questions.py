"""What a line asks, whatever is wrong with it: no line is refused, and none is lost."""

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from throughtime import config
from throughtime.data.tokenizer import UNK, Tokenizer, unseen
from throughtime.run.decode.reading import Line
from throughtime.run.decode.sources import Source

TEXT = ("source", "prompt", "text")  # keys of a JSON line for what is to be decoded or scored
TARGET = ("target", "reference")  # and for what a source is to be scored with
SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can spell halves of characters, which no UTF-8 text can hold

Remarks = list[str]  # what a user should know about a line, in sentences without their subject, the name of the line


@dataclass(frozen=True)
class Question:
    """A text to decode or to score, or a source and its `target`; `prefix`: how its hypotheses are to begin;
    `contains`: the texts that must be in them."""

    place: int
    text: str
    target: str = ""
    prefix: str = ""
    contains: list[str] = field(default_factory=list)
    remarks: Remarks = field(default_factory=list)


class Encoded(NamedTuple):
    """The ids of a text, and remarks on what was left out of it."""

    ids: list[int]
    remarks: Remarks


def question(line: Line, source: Source, pairs: bool) -> Question:
    """The text of a line; with `pairs` also its target: from the file of targets, the JSON object, or after a tab."""
    text, remarks = _decoded(line.raw.removeprefix(codecs.BOM_UTF8))
    if source.targets is not None:
        text, _, target = text.partition("\n")
        asked = _read(line.place, text, source.reads_json, pairs=False)
        asked = replace(asked, target=target.removeprefix("\ufeff"))
    else:
        asked = _read(line.place, text, source.reads_json, pairs)
    return replace(asked, remarks=[*remarks, *asked.remarks])


def _decoded(raw: bytes) -> tuple[str, Remarks]:
    try:
        return raw.decode(), []
    except UnicodeDecodeError as error:
        remark = f"is no UTF-8 (byte 0x{raw[error.start]:02x}); what is not is read as U+FFFD."
        return raw.decode(errors="replace"), [remark]


def _read(place: int, line: str, reads_json: bool, pairs: bool) -> Question:
    """The question of a line of JSON, of two texts with a tab between them, or of a text."""
    if reads_json:
        return _of_json(place, line, pairs)
    if pairs:
        text, tab, target = line.partition("\t")
        missing = "has no tab between a source and a target; the target is taken to be empty."
        return Question(place, text, target, remarks=[] if tab else [missing])
    return Question(place, line)


def _of_json(place: int, line: str, pairs: bool) -> Question:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    row = value if isinstance(value, Mapping) else {}
    text, of_text = _text_under(TEXT, row)
    target, of_target = _text_under(TARGET, row) if pairs else ("", [])
    prefix, of_prefix = _prefix(row)
    contains, of_contains = _contains(row)
    return Question(place, text, target, prefix, contains, [*of_text, *of_target, *of_prefix, *of_contains])


def _text_under(keys: tuple[str, ...], row: Mapping[str, Any]) -> tuple[str, Remarks]:
    """The text under the first of the keys that has one."""
    for key in keys:
        if isinstance(row.get(key), str):
            return _without_surrogates(row[key]), []
    under = config.alternatives(list(keys))
    return "", [f"is no JSON object with a text under {under}; that text is taken to be empty."]


def _prefix(row: Mapping[str, Any]) -> tuple[str, Remarks]:
    prefix = row.get("prefix") or ""
    if isinstance(prefix, str):
        return _without_surrogates(prefix), []
    return "", [f"has a prefix that is no text, {json.dumps(prefix)}; it is left out."]


def _contains(row: Mapping[str, Any]) -> tuple[list[str], Remarks]:
    contains = row.get("contains") or []
    if isinstance(contains, list) and all(isinstance(text, str) for text in contains):
        return [_without_surrogates(text) for text in contains], []
    return [], [f"has under contains no list of texts, but {json.dumps(contains)}; it is left out."]


def _without_surrogates(text: str) -> str:
    return SURROGATES.sub("\ufffd", text)


def encoded(tokenizer: Tokenizer, text: str, longest: int, from_the_end: bool = False) -> Encoded:
    """The ids of a text without characters that the model never saw, at most the first or last `longest` of them."""
    ids, remarks = tokenizer.encode(text), []
    if strange := unseen(tokenizer, text, ids):
        remarks.append(f"holds {strange!r}, which the model never saw; such are left out.")
        ids = [token for token in ids if token != UNK]
    if len(ids) > longest:
        kept = "last" if from_the_end else "first"
        remarks.append(f"is {len(ids):,} tokens long; the {kept} longest={longest} of them are read.")
        ids = ids[-longest:] if from_the_end else ids[:longest]
    return Encoded(ids, remarks)
