"""Text <-> token ids. Every tokenizer shares the four special ids and turns into plain data for the checkpoint."""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tokenizers

from throughtime import config
from throughtime.data.paths import fingerprint, one_file

PAD, BOS, EOS, UNK = range(4)
SPECIALS = 4
INSTEAD = {
    "source": "text",
    "target": "text",
    "text": "target",
}  # the side of another run that one not there is read by


class Tokenizer(ABC):
    """What the rest of the project knows of a tokenizer.

    `size` counts all ids, the four special ones (pad, bos, eos, unk) included; `lowercase`: texts are read as if they were
    written without capitals.
    """

    name: ClassVar[str]
    size: int
    lowercase: bool = False

    def read(self, text: str) -> str:
        """The text as it is encoded."""
        return text.lower() if self.lowercase else text

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without any special id but unk."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts."""
        return self._ids([self.read(text) for text in texts])

    @abstractmethod
    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts as they stand."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; pad, bos and eos are skipped, unk shows as U+FFFD."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain data from which `from_state` makes an equal tokenizer."""


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes: nothing to learn, nothing unknown."""

    name = "byte"
    size = SPECIALS + 256

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[SPECIALS + byte for byte in text.encode()] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(id - SPECIALS for id in ids if id >= SPECIALS).decode(errors="replace")

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "lowercase": self.lowercase}


class _Listed(Tokenizer):
    """A tokenizer whose vocabulary is a list of strings."""

    def __init__(self, vocabulary: Sequence[str]):
        self.vocabulary = list(vocabulary)
        self.size = SPECIALS + len(self.vocabulary)
        self._known = {token: SPECIALS + place for place, token in enumerate(self.vocabulary)}

    def _tokens(self, ids: Sequence[int]) -> list[str]:
        return ["\ufffd" if id == UNK else self.vocabulary[id - SPECIALS] for id in ids if id >= UNK]

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "lowercase": self.lowercase, "vocabulary": self.vocabulary}


class CharTokenizer(_Listed):
    """Unicode characters seen in the training split."""

    name = "char"

    @classmethod
    def fit(cls, texts: Iterable[str]) -> "CharTokenizer":
        """Every character of `texts`, in code point order."""
        seen: set[str] = set()
        for text in texts:
            seen.update(text)
        return cls(sorted(seen))

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._known.get(char, UNK) for char in text] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._tokens(ids))


class WordTokenizer(_Listed):
    """Words between white space; a line's end is a word of its own. Rare words are unknown."""

    name = "word"

    @staticmethod
    def _split(text: str) -> list[str]:
        first, *others = (line.split() for line in text.split("\n"))
        return [*first, *(word for line in others for word in ("\n", *line))]

    @classmethod
    def fit(cls, texts: Iterable[str], vocabulary: int) -> "WordTokenizer":
        """The most frequent words, `vocabulary` of them with the special ids."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(cls._split(text))
        return cls([word for word, _ in counts.most_common(vocabulary - SPECIALS)])

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._known.get(word, UNK) for word in self._split(text)] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self._tokens(ids)).replace(" \n ", "\n").replace(" \n", "\n").replace("\n ", "\n")


class BpeTokenizer(Tokenizer):
    """Byte-level byte pair encoding (Sennrich et al. 2016, on bytes as GPT-2) by the `tokenizers` library.

    The library's ids are shifted by the special ids, so that no text can spell a special token.
    """

    name = "bpe"
    smallest: ClassVar[int] = SPECIALS + 256

    def __init__(self, encoding: tokenizers.Tokenizer):
        self._encoding = encoding
        self.size = SPECIALS + encoding.get_vocab_size()

    @classmethod
    def fit(cls, texts: Iterable[str], vocabulary: int) -> "BpeTokenizer":
        """Merges learned on `texts` until `vocabulary` ids are there, or no pair is left to merge."""
        if vocabulary < cls.smallest:
            raise config.wrong(
                "tokenizer.vocabulary", vocabulary, f"a number of at least {cls.smallest} with tokenizer=bpe"
            )
        encoding = tokenizers.Tokenizer(tokenizers.models.BPE())
        encoding.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        encoding.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary - SPECIALS,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        encoding.train_from_iterator(texts, trainer)
        return cls(encoding)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[SPECIALS + id for id in found.ids] for found in self._encoding.encode_batch_fast(list(texts))]

    def decode(self, ids: Sequence[int]) -> str:
        return self._encoding.decode([id - SPECIALS for id in ids if id >= SPECIALS])

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "lowercase": self.lowercase, "encoding": json.loads(self._encoding.to_str())}


def identity(choice: config.Tokenizer) -> dict[str, Any]:
    """What determines the tokenizer beside the texts that it is learned from."""
    content = {"sha256": fingerprint(_taken_from(choice))} if isinstance(choice, config.TakenTokenizer) else {}
    return {**config.plain(choice), **content}


def taken(choice: config.TakenTokenizer, side: str) -> Tokenizer:
    """The tokenizer for a side that another run has left in its folder.

    Raises:
        Mistake: it has left none, or none of that side.
    """
    file, sides = _taken_from(choice), (choice.side,) if choice.side else (side, INSTEAD[side])
    try:
        states = json.loads(file.read_text(encoding="utf-8"))
        return from_state(states[next(one for one in sides if one in states)])
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        allowed = (
            f"a run's folder, or its tokenizers.json, with a vocabulary of the side {config.alternatives(list(sides))}"
        )
        raise config.wrong("tokenizer.path", choice.path, allowed) from error


def _taken_from(choice: config.TakenTokenizer) -> Path:
    """The file that holds it."""
    path = Path(choice.path or "")
    if path.suffix == ".ckpt":  # of which a kept one is a folder deeper
        path = next((folder for folder in path.parents[1:3] if (folder / "tokenizers.json").exists()), path)
    return one_file("tokenizer.path", str(path / "tokenizers.json" if path.is_dir() else path))


def fit(choice: config.PlainTokenizer | config.LearnedTokenizer, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer of `tokenizer=`, learned from the training texts where there is something to learn."""
    fitted = _fit(choice, (text.lower() for text in texts) if choice.lowercase else texts)
    fitted.lowercase = choice.lowercase
    return fitted


def _fit(choice: config.PlainTokenizer | config.LearnedTokenizer, texts: Iterable[str]) -> Tokenizer:
    if choice.name == "byte":
        return ByteTokenizer()
    if isinstance(choice, config.LearnedTokenizer):
        kind = WordTokenizer if choice.name == "word" else BpeTokenizer
        return kind.fit(texts, choice.vocabulary)
    return CharTokenizer.fit(texts)


def from_state(state: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `state()` described."""
    found = _from_state(state)
    found.lowercase = state["lowercase"]
    return found


def _from_state(state: dict[str, Any]) -> Tokenizer:
    if state["name"] == "byte":
        return ByteTokenizer()
    if state["name"] == "bpe":
        return BpeTokenizer(tokenizers.Tokenizer.from_str(json.dumps(state["encoding"])))
    return {"char": CharTokenizer, "word": WordTokenizer}[state["name"]](state["vocabulary"])


def encode_known(tokenizer: Tokenizer, text: str, where: str) -> list[int]:
    """The ids of a text a user wrote; characters that a character tokenizer never saw are refused.

    Raises:
        Mistake: naming `where` the text is from and the first character unseen.
    """
    ids = tokenizer.encode(text)
    if strange := unseen(tokenizer, text, ids):
        raise config.wrong(where, repr(strange), "a character of the training text (tokenizer=char)")
    return ids


def unseen(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> str | None:
    """The first character of a text with these ids that a character tokenizer never saw, if there is one."""
    return tokenizer.read(text)[ids.index(UNK)] if isinstance(tokenizer, CharTokenizer) and UNK in ids else None
