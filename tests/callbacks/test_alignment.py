"""Where the model looks, at each validation."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from tests.conftest import FEW_NUMBERS

from throughtime import build
from throughtime.data.pairs import collate, open_pairs


def shades(page: Path) -> list[float]:
    return [float(weight) for weight in re.findall(r'fill-opacity="([^"]*)"', page.read_text())]


def test_the_pictures_are_of_the_models_attention_to_the_references(train: Callable[..., Path]) -> None:
    """A page for each validation, two of them within an epoch."""
    twice = ["trainer.steps=4", "trainer.validate_every=2"]
    run = train(*FEW_NUMBERS, *twice, "decoding.alignments=3", "context=additive", "tokenizer=byte")
    pages = sorted((run / "alignments").iterdir())
    assert [page.name for page in pages] == ["step-00000002.html", "step-00000004.html"]
    (cache,) = (run.parent / "outputs" / "cache").glob("*/validation")
    pairs = open_pairs(cache)[:3]
    model = build.from_checkpoints([run / "checkpoints" / "last.ckpt"]).model
    expected: list[float] = []

    def keep(module: torch.nn.Module, given: object, found: tuple[torch.Tensor, ...]) -> None:
        expected.extend(found[2].flatten().tolist())

    model.decoder.attention.register_forward_hook(keep)
    for source, target in zip(pairs["source_ids"], pairs["target_ids"], strict=True):
        batch = collate([source], [target])
        model(batch.source, batch.source_lengths, batch.tokens)
    torch.testing.assert_close(torch.tensor(shades(pages[1])), torch.tensor(expected), atol=1e-4, rtol=0)
    for text in pairs["source"]:
        assert f"<p>{text}<br>" in pages[1].read_text()


def test_pairs_too_long_for_a_picture_are_passed_over(train: Callable[..., Path], tmp_path: Path) -> None:
    lengths = [60, 3, 60, 4, 5, 60]
    (tmp_path / "pairs.tsv").write_text("a\ta\n" * 60)
    (tmp_path / "validation.tsv").write_text("".join(f"{'a' * length}\tb\n" for length in lengths))
    given = ["data=pairs", f"data.path={tmp_path}/pairs.tsv", f"data.validation_path={tmp_path}/validation.tsv"]
    run = train(*given, "tokenizer=byte", "decoding.alignments=2")
    assert re.findall("<p>(a*)<br>", next((run / "alignments").iterdir()).read_text()) == ["aaa", "aaaa"]


def test_a_model_without_attention_has_no_pictures(train: Callable[..., Path], story: Path) -> None:
    runs = [
        train(*FEW_NUMBERS, "context=initial_state", folder="summary"),
        train("data=text", f"data.path={story}", folder="text"),
        train(*FEW_NUMBERS, "decoding.alignments=0", folder="unasked"),
    ]
    assert not any((run / "alignments").exists() for run in runs)
