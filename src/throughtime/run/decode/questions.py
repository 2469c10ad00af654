"""What a line asks, whatever is wrong with it: no line is refused, and none is lost."""

import codecs
import json
import re
from dataclasses import dataclass, field

from throughtime.data.tokenizer import UNK, CharTokenizer, Tokenizer
from throughtime.run.decode.reading import Line

KEYS = ("source", "prompt", "text")  # where a JSON line may hold what is to be decoded
SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can spell halves of characters, which no UTF-8 text can hold


@dataclass
class Question:
    """A text to decode, and what a user should know of it, in whole sentences but for the line's name in front."""

    place: int
    text: str
    remarks: list[str] = field(default_factory=list)


def question(line: Line, as_json: bool) -> Question:
    """The text of a line, or that under one of `KEYS` of the JSON object it holds."""
    raw = line.raw.removeprefix(codecs.BOM_UTF8) if line.place == 1 else line.raw
    remarks = []
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        text = raw.decode(errors="replace")
        remarks.append(f"is no UTF-8 (byte 0x{raw[error.start]:02x}); what is not is read as U+FFFD.")
    if as_json:
        text, remark = _under_a_key(text)
        remarks += remark
    return Question(line.place, SURROGATES.sub("\ufffd", text), remarks)


def _under_a_key(line: str) -> tuple[str, list[str]]:
    try:
        row = json.loads(line)
        return next(row[key] for key in KEYS if isinstance(row.get(key), str)), []
    except (ValueError, AttributeError, RecursionError, StopIteration):
        wanted = f"{', '.join(KEYS[:-1])} or {KEYS[-1]}"
        return "", [f"is no JSON object with a text under {wanted}; it is answered by an empty text."]


def encoded(tokenizer: Tokenizer, asked: Question, longest: int, from_the_end: bool) -> list[int]:
    """The ids of a question's text, at most `longest` of them, the first or the last; what they leave out is remarked."""
    ids = tokenizer.encode(asked.text)
    if isinstance(tokenizer, CharTokenizer) and UNK in ids:
        asked.remarks.append(f"holds {asked.text[ids.index(UNK)]!r}, which the model never saw; such are left out.")
        ids = [found for found in ids if found != UNK]
    if len(ids) > longest:
        kept = "last" if from_the_end else "first"
        asked.remarks.append(f"is {len(ids):,} tokens long; the {kept} longest={longest} of them are read.")
        ids = ids[-longest:] if from_the_end else ids[:longest]
    return ids
