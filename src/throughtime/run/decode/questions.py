"""What a line asks, whatever is wrong with it: no line is refused, and none is lost."""

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from throughtime import config
from throughtime.data.tokenizer import UNK, Tokenizer, unseen
from throughtime.run.decode.reading import Line
from throughtime.run.decode.sources import Source

TEXT = ("source", "prompt", "text")  # keys of a JSON line for what is to be decoded or scored
TARGET = ("target", "reference")  # and for what a source is to be scored with
SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can spell halves of characters, which no UTF-8 text can hold


@dataclass
class Question:
    """A text to decode or to score, or a source and its `target`; `prefix`: how its hypotheses are to begin;
    `contains`: the texts that must be in them; `remarks`: what a user should know about it, in sentences without their
    subject, the name of the line."""

    place: int
    text: str
    target: str = ""
    prefix: str = ""
    contains: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def question(line: Line, source: Source, pairs: bool) -> Question:
    """The text of a line; with `pairs` also its target: from the file of targets, the JSON object, or after a tab."""
    asked = Question(line.place, "")
    raw = line.raw.removeprefix(codecs.BOM_UTF8)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        text = raw.decode(errors="replace")
        asked.remarks.append(f"is no UTF-8 (byte 0x{raw[error.start]:02x}); what is not is read as U+FFFD.")
    if source.targets is not None:
        text, _, target = text.partition("\n")
        asked.target, pairs = target.removeprefix("\ufeff"), False
    if source.reads_json:
        _ask_of_json(asked, text, pairs)
    elif pairs:
        asked.text, between, asked.target = text.partition("\t")
        if not between:
            asked.remarks.append("has no tab between a source and a target; the target is taken to be empty.")
    else:
        asked.text = text
    asked.text, asked.target, asked.prefix, *asked.contains = (
        SURROGATES.sub("\ufffd", part) for part in (asked.text, asked.target, asked.prefix, *asked.contains)
    )
    return asked


def _ask_of_json(asked: Question, line: str, pairs: bool) -> None:
    """The texts of a JSON object."""
    wanted = {"text": TEXT, **({"target": TARGET} if pairs else {})}
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    found = row if isinstance(row, Mapping) else {}
    for part, keys in wanted.items():
        texts = [found[key] for key in keys if isinstance(found.get(key), str)]
        if not texts:
            under = config.alternatives(list(keys))
            asked.remarks.append(f"is no JSON object with a text under {under}; that text is taken to be empty.")
        setattr(asked, part, texts[0] if texts else "")
    prefix, contains = found.get("prefix") or "", found.get("contains") or []
    if isinstance(prefix, str):
        asked.prefix = prefix
    else:
        asked.remarks.append(f"has a prefix that is no text, {json.dumps(prefix)}; it is left out.")
    if isinstance(contains, list) and all(isinstance(text, str) for text in contains):
        asked.contains = contains
    else:
        asked.remarks.append(f"has under contains no list of texts, but {json.dumps(contains)}; it is left out.")


def encoded(tokenizer: Tokenizer, text: str, asked: Question, longest: int, from_the_end: bool = False) -> list[int]:
    """The ids of a question's text, at most the first or last `longest` of them; remarks say what is left out."""
    ids = tokenizer.encode(text)
    if strange := unseen(tokenizer, text, ids):
        asked.remarks.append(f"holds {strange!r}, which the model never saw; such are left out.")
        ids = [found for found in ids if found != UNK]
    if len(ids) > longest:
        kept = "last" if from_the_end else "first"
        asked.remarks.append(f"is {len(ids):,} tokens long; the {kept} longest={longest} of them are read.")
        ids = ids[-longest:] if from_the_end else ids[:longest]
    return ids
