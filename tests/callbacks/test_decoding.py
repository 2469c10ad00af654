"""Decoding a split draws on through all of its batches, and alike each time."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from tests.conftest import FEW_NUMBERS, settings

from throughtime.callbacks import decoding
from throughtime.data.tokenizer import ByteTokenizer
from throughtime.search import searching


def test_one_generator_for_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def search(choice: Any, stepper: Any, batch: list[Any], random: torch.Generator, *_: Any) -> list[list[Any]]:
        drawn.append(float(torch.rand(1, generator=random)))
        return [[] for _ in batch]

    monkeypatch.setattr(searching, "search", search)
    monkeypatch.setattr(decoding, "BATCH", 2)
    pairs = Dataset.from_dict({"source_ids": [[5]] * 6, "source_length": [1] * 6})
    prepared: Any = SimpleNamespace(tokenizers={"target": ByteTokenizer()})
    passes = []
    trainer: Any = SimpleNamespace(global_rank=0, world_size=1, is_global_zero=True)
    for _ in range(2):
        drawn.clear()
        decoding.Pairs(settings("search=sample"), prepared)._search(None, pairs, trainer)  # type: ignore[arg-type]
        passes.append(list(drawn))
    assert len(set(passes[0])) == 3
    assert passes[0] == passes[1]


def test_only_validation_may_decode_a_part(train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def scores(_: Any, texts: list[str], references: list[str]) -> dict[str, float]:
        assert len(texts) == len(references)
        measured.append(len(texts))
        return {}

    monkeypatch.setattr(decoding, "text_scores", scores)
    train(*FEW_NUMBERS, "decoding.sentences=3")
    assert measured == [3, 8]
