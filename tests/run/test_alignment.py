"""Attention beside the answers: the model's own weights, as numbers, as a grid and as an image."""

import json
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS
from tests.run.conftest import job

from throughtime import build, config
from throughtime.data.tokenizer import BOS, EOS
from throughtime.run.decode.alignment import rows


@pytest.fixture
def answers(translator: Path, tmp_path: Path) -> Callable[..., list[dict]]:
    def run(*overrides: str) -> list[dict]:
        (tmp_path / "in.txt").write_text("one\n\ntwo hundred and three\n")
        files = [f"input={tmp_path}/in.txt", f"output={tmp_path}/out.jsonl"]
        job(f"checkpoint={translator}", *files, "search.n_best=2", "search.min_length=4", *overrides)
        return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]

    return run


def test_the_numbers_are_the_models(answers: Callable[..., list[dict]], translator: Path) -> None:
    model = build.from_checkpoints([translator / "checkpoints" / "best.ckpt"])
    seen: list[torch.Tensor] = []
    model.model.decoder.attention.register_forward_hook(lambda module, given, found: seen.append(found[2]))
    for row in answers("attention=text"):
        for hypothesis in row["hypotheses"] if row["source"] else []:
            ids = model.tokenizers["source"].encode(row["source"])
            assert row["source_tokens"] == [*row["source"], "<eos>"]
            seen.clear()
            source, written = torch.tensor([[*ids, EOS]]), model.tokenizers["target"].encode(hypothesis["text"])
            steps = [BOS, *written][: hypothesis["length"]]
            model.model(source, torch.tensor([source.shape[1]]), torch.tensor([steps]))
            if "\ufffd" not in hypothesis["text"]:
                torch.testing.assert_close(torch.tensor(hypothesis["attention"]), seen[0][0], atol=1e-4, rtol=0)
            assert len(hypothesis["attention"]) == hypothesis["length"]


def test_a_line_without_text_has_none(answers: Callable[..., list[dict]]) -> None:
    assert answers("attention=text")[1]["hypotheses"][0]["attention"] == []


def test_so_have_only_such_lines(translator: Path, decoded: Callable[..., bytes]) -> None:
    rows = decoded(translator, b"\n \n", "attention=text", name="out.jsonl").splitlines()
    assert [json.loads(row)["hypotheses"][0]["attention"] for row in rows] == [[], []]


def test_images_lie_beside_the_output(answers: Callable[..., list[dict]], tmp_path: Path) -> None:
    rows = answers("attention=image")
    for row in rows:
        picture = xml.etree.ElementTree.parse(tmp_path / "out.jsonl.attention" / f"{row['line']:06d}.svg").getroot()
        cells = [float(cell.get("fill-opacity")) for cell in picture.iter() if cell.get("fill-opacity")]
        assert cells == [weight for step in row["hypotheses"][0]["attention"] for weight in step]


def test_a_grid_stands_below_its_line(translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    capsys.readouterr()
    job(f"checkpoint={translator}", f"input={tmp_path}/in.txt", "attention=text", "search.min_length=4")
    _, header, *rows, last = capsys.readouterr().out.split("\n")[:-1]
    assert header.split() == ["o", "n", "e", "<eos>"]
    assert len(rows) >= 4
    assert last == ""


def test_the_end_has_a_row_where_it_was_reached() -> None:
    assert rows({"tokens": ["a", "b"], "attention": [[1.0]] * 3}) == ["a", "b", "<eos>"]
    assert rows({"tokens": ["a", "b"], "attention": [[1.0]] * 2}) == ["a", "b"]


def test_a_model_without_attention_is_refused(train: Callable[..., Path], tmp_path: Path) -> None:
    folder = train(*FEW_NUMBERS, "context=initial_state", "tokenizer=byte")
    (tmp_path / "in.txt").write_text("one\n")
    with pytest.raises(config.Mistake, match="attention=text: allowed is none with a checkpoint whose model has no"):
        job(f"checkpoint={folder}", f"input={tmp_path}/in.txt", "attention=text")
