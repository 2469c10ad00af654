"""What is read: the corpus, its tokenizer, its batches."""

from dataclasses import dataclass
from typing import Annotated, Literal

from throughtime.config.mistakes import Mistake, wrong
from throughtime.config.ranges import Count, Range, Share


@dataclass(frozen=True)
class NumberWords:
    """Numbers in words, from one language of num2words to another."""

    name: Literal["number_words"]
    source_language: str
    target_language: str
    smallest: Annotated[int, Range(at_least=0, at_most=10**15)]
    largest: Annotated[int, Range(at_least=1, at_most=10**15)]
    train: Count
    validation: Count
    test: Count


@dataclass(frozen=True)
class Stories:
    """Generated stories of at most `sentences` sentences, each with its question before or after it; the kinds take turns."""

    name: Literal["stories"]
    kinds: list[Literal["one_fact", "two_facts", "who_has", "yes_no", "counting", "listing", "negation"]]
    sentences: Count
    question: Literal["first", "last"]
    train: Count
    validation: Count
    test: Count


@dataclass(frozen=True)
class StdlibPairs:
    """Pairs out of this Python's standard library, neither side of more than `longest` characters: what follows a
    docstring's first paragraph and that paragraph, that paragraph and the function, or a name and that paragraph."""

    name: Literal["stdlib_summaries", "stdlib_functions", "stdlib_topics"]
    longest: Count
    validation_share: Share
    test_share: Share


@dataclass(frozen=True)
class StdlibDocs:
    """The docstrings of this Python's standard library."""

    name: Literal["stdlib_docs"]
    validation_share: Share
    test_share: Share


@dataclass(frozen=True)
class TextFiles:
    """Text files of the user; each of them is a document, or each of their lines."""

    name: Literal["text"]
    path: str | None
    validation_path: str | None
    test_path: str | None
    validation_share: Share
    test_share: Share
    documents: Literal["files", "lines"] = "files"


@dataclass(frozen=True)
class PairFiles:
    """Source and target lines of the user: one table, or two aligned text files, per split."""

    name: Literal["pairs"]
    path: str | None
    validation_path: str | None
    test_path: str | None
    source_path: str | None
    target_path: str | None
    validation_source_path: str | None
    validation_target_path: str | None
    test_source_path: str | None
    test_target_path: str | None
    source_field: str
    target_field: str
    unique: bool
    validation_share: Share
    test_share: Share


@dataclass(frozen=True)
class HubDataset:
    """A Hugging Face dataset by name, or one saved on disk."""

    name: Literal["hf"]
    path: str | None
    subset: str | None
    text_field: str | None
    source_field: str | None
    target_field: str | None
    train_split: str
    validation_split: str | None
    test_split: str | None
    validation_share: Share
    test_share: Share
    streaming: bool


Data = NumberWords | Stories | StdlibPairs | StdlibDocs | TextFiles | PairFiles | HubDataset


@dataclass(frozen=True)
class PlainTokenizer:
    """Bytes or characters; `joint`: of both sides of the pairs together."""

    name: Literal["byte", "char"]
    lowercase: bool
    joint: bool


@dataclass(frozen=True)
class LearnedTokenizer:
    """Words or byte-level BPE, the vocabulary learned from the training split; `joint`: of both sides of the pairs
    together."""

    name: Literal["word", "bpe"]
    vocabulary: Annotated[int, Range(at_least=5, at_most=1_000_000)]
    lowercase: bool
    joint: bool


@dataclass(frozen=True)
class TakenTokenizer:
    """The tokenizers of another run, by its folder or its `tokenizers.json`: each side's own, unless `side` says whose."""

    name: Literal["taken"]
    path: str | None
    side: Literal["source", "target", "text"] | None


Tokenizer = PlainTokenizer | LearnedTokenizer | TakenTokenizer


@dataclass(frozen=True)
class Batch:
    """Columns of a text stream, where they begin, whether the state is carried from document to document, and the share of
    columns that start afresh at a chunk of training, so that the model stays used to a fresh state; or tokens (padding
    included) of a bucket of pairs."""

    columns: Count
    offset: bool
    documents: Literal["carry", "reset"]
    restarts: Share
    tokens: Count
    longest: Count


def reads_text(data: Data) -> bool:
    """Whether the corpus is running text (for a language model) rather than pairs."""
    return isinstance(data, StdlibDocs | TextFiles) or (isinstance(data, HubDataset) and data.text_field is not None)


def one_vocabulary(tokenizer: Tokenizer) -> bool:
    """Whether both sides of a pair share it; a taken one is asked when it has been read."""
    return isinstance(tokenizer, TakenTokenizer) or tokenizer.joint or tokenizer.name == "byte"


def refuse_contradictory_data(data: Data) -> None:
    """Refuses a corpus that is too small, or whose place is not given."""
    if isinstance(data, NumberWords):
        there, asked = data.largest - data.smallest + 1, data.train + data.validation + data.test
        if asked > there:
            raise wrong("data.largest", data.largest, f"large enough for {asked} numbers from {data.smallest} up")
        if data.source_language == data.target_language:
            raise wrong("data.target_language", data.target_language, "a language other than data.source_language")
        return
    if isinstance(data, Stories):
        if not data.kinds:
            raise wrong("data.kinds", data.kinds, "a list of at least one kind")
        return
    shares = {f"data.{split}_share": _share(data, split) for split in ("validation", "test")}
    if sum(shares.values()) >= 1:
        given = " and ".join(f"{setting}={share}" for setting, share in shares.items() if share)
        raise Mistake(f"{given}: allowed are shares that leave some of the data for training.")
    if isinstance(data, TextFiles | HubDataset) and data.path is None:
        raise wrong("data.path", None, "a file or a glob" if data.name == "text" else "a dataset's name or folder")
    if isinstance(data, HubDataset) and data.text_field is None and None in (data.source_field, data.target_field):
        raise wrong("data.text_field", None, "a field's name, or data.source_field and data.target_field")
    if isinstance(data, PairFiles):
        _refuse_contradictory_pairs(data)


def _refuse_contradictory_pairs(data: PairFiles) -> None:
    if data.path is None and data.source_path is None:
        raise wrong("data.path", data.path, "one table file, or null with data.source_path and data.target_path")
    for setting in ("source_field", "target_field"):
        field = str(getattr(data, setting))
        if field.startswith("-") and field[1:].isdigit():
            raise wrong(f"data.{setting}", field, "the number of a column, from 0, or its name")
    for split in ("", "validation_", "test_"):
        table, source, target = (f"{split}{side}path" for side in ("", "source_", "target_"))
        if (getattr(data, source) is None) != (getattr(data, target) is None):
            raise wrong(f"data.{source}", getattr(data, source), f"set together with data.{target}")
        if None not in (getattr(data, table), getattr(data, source)):
            raise wrong(f"data.{table}", getattr(data, table), f"one table file, or null with data.{source}")


def _share(data: Data, split: str) -> float:
    return 0.0 if has_own(data, split) else float(getattr(data, f"{split}_share"))


def has_own(data: Data, split: str) -> bool:
    """Whether a split has a file, or a name in a dataset, of its own."""
    return any(getattr(data, f"{split}_{place}", None) for place in ("path", "source_path", "split"))
