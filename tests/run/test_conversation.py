"""On a terminal: a prompt, an answer before the next line, tokens as they come."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.conftest import ROOT
from tests.run.conftest import job

from throughtime import config
from throughtime.data.tokenizer import ByteTokenizer
from throughtime.run.decode.conversation import Typewriter, Watched
from throughtime.search import search
from throughtime.search.stepper import Scores


@pytest.fixture
def terminal(translator: Path) -> Iterator[int]:
    """The keyboard and screen of a decode.py that somebody types into."""
    ours, theirs = pty.openpty()
    line = [sys.executable, str(ROOT / "decode.py"), f"checkpoint={translator}", "search=greedy", "search.max_length=8"]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "TERM": "xterm"}
    running = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=strict)
    os.close(theirs)
    yield ours
    assert running.wait(timeout=60) == 0
    os.close(ours)


def until(screen: int, ending: bytes) -> bytes:
    shown = b""
    while not shown.endswith(ending):
        shown += os.read(screen, 1024)
    return shown


def test_a_conversation(terminal: int) -> None:
    until(terminal, b"> ")
    for text in (b"one", b"", b"two"):
        os.write(terminal, text + b"\n")
        shown = until(terminal, b"> ").replace(b"\r", b"")
        assert shown.startswith(text + b"\n")
        assert shown.count(b"\n") == 2
    os.write(terminal, b"\xff two\n")
    assert b"UTF-8" in until(terminal, b"> ")
    os.write(terminal, b"\x04")


def test_what_is_shown_token_by_token_is_the_answer(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    text = "caf\u00e9\nau lait"
    tokenizer, typewriter = ByteTokenizer(), Typewriter()
    pieces = []

    def show(so_far: str) -> None:
        typewriter.show(so_far)
        pieces.append(capfdbinary.readouterr().out)

    stepper = Watched(Spelling(tokenizer.encode(text)), tokenizer.decode, show)
    ((found,),) = search(greedy(), stepper, [[5]], torch.Generator())
    assert tokenizer.decode(found.tokens) == text
    typewriter.add([], text.replace("\n", "\\n") + "\n")
    pieces.append(capfdbinary.readouterr().out)
    assert b"".join(pieces).decode() == "caf\u00e9\\nau lait\n"
    assert pieces[:5] == [b"c", b"a", b"f", b"", "\u00e9".encode()]


def greedy() -> config.Greedy:
    return config.Greedy(name="greedy", max_length=50, min_length=0, repetition=1.0, block_ngrams=None, banned=[])


class Spelling:
    """A model that spells a text, whatever came before."""

    def __init__(self, ids: list[int]):
        self._ids = [*ids, 2]

    def start(self, batch: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(len(batch), dtype=torch.long), torch.zeros(len(batch), dtype=torch.long)

    def step(self, tokens: torch.Tensor, state: torch.Tensor) -> tuple[Scores, torch.Tensor]:
        logits = torch.full((*tokens.shape, 260), -9.0)
        logits[..., self._ids[int(state[0])]] = 9.0
        return Scores(torch.log_softmax(logits, dim=-1)), state + 1

    def reorder(self, state: torch.Tensor, rows: torch.Tensor, sentences: torch.Tensor | None = None) -> torch.Tensor:
        return state[rows.flatten()]


def test_a_closed_input_is_told(translator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(config.Mistake, match="input=-: allowed is"):
        job(f"checkpoint={translator}")
