"""`mode=score` finds what the search found, what the network's own softmax says, and the perplexity of a text."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.run.conftest import interrupted, job

from throughtime import build, config
from throughtime.data.tokenizer import BOS, EOS

SOURCES = ["one", "two hundred", "", "a\u00e9", "twenty-one thousand"]


@pytest.mark.parametrize("search", ["search=beam", "search=greedy", "search=sample search.top_k=2"])
def test_it_agrees_with_the_search(search: str, translator: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"{source}\n" for source in SOURCES if source))
    found = [f"input={tmp_path}/in.txt", f"output={tmp_path}/found.jsonl"]
    job(f"checkpoint={translator}", *found, *search.split(), "search.max_length=9")
    rows = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    pairs = [(row["source"], row["hypotheses"][0]) for row in rows]
    same = [(source, best) for source, best in pairs if "\ufffd" not in best["text"]]  # half a character has no text
    assert same
    lines = [json.dumps({"source": source, "target": best["text"]}) + "\n" for source, best in same]
    (tmp_path / "pairs.jsonl").write_text("".join(lines))
    job(f"checkpoint={translator}", "mode=score", f"input={tmp_path}/pairs.jsonl", f"output={tmp_path}/scored.jsonl")
    scored = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    for (_, best), row in zip(same, scored, strict=True):
        found_too = row["token_log_probabilities"][: best["length"]]  # without eos where the search was cut off
        assert sum(found_too) == pytest.approx(best["log_probability"], abs=1e-5)
        assert row["log_probability"] == pytest.approx(sum(row["token_log_probabilities"]), abs=1e-9)
        assert row["length"] == len(row["tokens"]) == len(row["token_log_probabilities"])
        assert row["tokens"] == [*best["tokens"], "<eos>"]


def test_it_is_the_networks_own_softmax(translator: Path, tmp_path: Path) -> None:
    targets = ["un", "deux cents", "rien", "", "vingt et un mille"]
    (tmp_path / "in.txt").write_text("".join(f"{source}\n" for source in SOURCES))
    (tmp_path / "targets.txt").write_text("".join(f"{target}\n" for target in targets))
    (tmp_path / "table.tsv").write_text("".join(f"{one}\t{two}\n" for one, two in zip(SOURCES, targets, strict=True)))
    files = [f"input={tmp_path}/in.txt", f"targets={tmp_path}/targets.txt", f"output={tmp_path}/out.jsonl"]
    job(f"checkpoint={translator}", "mode=score", *files)
    scored = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    job(f"checkpoint={translator}", "mode=score", f"input={tmp_path}/table.tsv", f"output={tmp_path}/table.jsonl")
    assert [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()] == scored
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"source": source}) + "\n" for source in SOURCES))
    job(f"checkpoint={translator}", "mode=score", f"input={tmp_path}/in.jsonl", *files[1:])
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == scored
    found = build.from_checkpoints([translator / "checkpoints" / "best.ckpt"])
    for row, source, target in zip(scored, SOURCES, targets, strict=True):
        read = torch.tensor([[*found.tokenizers["source"].encode(source), EOS]])
        written = [*found.tokenizers["target"].encode(target), EOS]
        logits = found.model(read, torch.tensor([read.shape[1]]), torch.tensor([[BOS, *written[:-1]]]))
        expected = torch.log_softmax(logits[0], dim=-1)[range(len(written)), written].tolist()
        assert row["token_log_probabilities"] == pytest.approx(expected, abs=1e-5)
        assert row["log_probability"] == pytest.approx(sum(expected), abs=1e-4)
        assert row["perplexity"] == pytest.approx(math.exp(-sum(expected) / len(expected)), rel=1e-4)
        assert (row["source"], row["target"]) == (source, target)


def test_perplexity_of_texts(language_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["the cat sat", "", "on the mat and the dog"]
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts))
    capsys.readouterr()
    job(f"checkpoint={language_model}", "mode=score", f"input={tmp_path}/in.txt", f"output={tmp_path}/out.txt")
    total = capsys.readouterr().err
    rows = [line.split("\t") for line in (tmp_path / "out.txt").read_text().splitlines()]
    found = build.from_checkpoints([language_model / "checkpoints" / "best.ckpt"])
    sums, count = 0.0, 0
    for row, text in zip(rows, texts, strict=True):
        ids = found.tokenizers["text"].encode(text)
        logits, _ = found.model(torch.tensor([[BOS, *ids]]))
        expected = torch.log_softmax(logits[0, :-1], dim=-1)[range(len(ids)), ids].detach()
        assert float(row[0]) == pytest.approx(float(expected.sum()), abs=1e-4)
        assert int(row[1]) == len(ids)
        assert [float(score) for score in row[3].split()] == pytest.approx(expected.tolist(), abs=1e-4)
        sums, count = sums + float(expected.sum()), count + len(ids)
    assert f"lines 3  tokens {count}" in total
    assert float(total.split()[-1]) == pytest.approx(math.exp(-sums / count), rel=1e-4)


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_a_resumed_total_counts_what_was(
    form: str, translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.tsv").write_text("".join(f"{number}\t{number + 1}\n" for number in range(10)))
    files = [f"input={tmp_path}/in.tsv", f"output={tmp_path}/out.{form}", "read_ahead=4"]
    capsys.readouterr()
    job(f"checkpoint={translator}", "mode=score", *files)
    whole, total = (tmp_path / f"out.{form}").read_bytes(), capsys.readouterr().err
    interrupted(f"checkpoint={translator}", "mode=score", *files)
    capsys.readouterr()
    job(f"checkpoint={translator}", "mode=score", *files, "resume=true")
    assert (tmp_path / f"out.{form}").read_bytes() == whole
    assert capsys.readouterr().err == total


def test_strange_pairs(translator: Path, decoded: Callable[..., bytes], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    written = decoded(translator, b"one\tun\ntwo\n\n\tdeux\tdeux\nx\xff\ty", "mode=score").splitlines()
    assert [line.split(b"\t")[1] for line in written] == [b"3", b"1", b"1", b"10", b"2"]
    remarks = capsys.readouterr().err.splitlines()
    assert [("line 2 has no tab" in remarks[0]), ("line 3 has no tab" in remarks[1]), ("line 5 is no" in remarks[2])]
    assert len(remarks) == 4


def test_a_byte_order_mark_is_part_of_no_target(translator: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    found = []
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "targets.txt").write_bytes(mark + b"un\n")
        files = [f"input={tmp_path}/in.txt", f"targets={tmp_path}/targets.txt", f"output={tmp_path}/out.txt"]
        job(f"checkpoint={translator}", "mode=score", *files)
        found.append((tmp_path / "out.txt").read_text())
    assert found[0] == found[1]


def test_a_language_model_scores_no_targets(language_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("the cat\n")
    with pytest.raises(config.Mistake, match="targets=.*: allowed is null with a language model"):
        job(f"checkpoint={language_model}", "mode=score", f"input={tmp_path}/in.txt", f"targets={tmp_path}/in.txt")


def test_other_numbers_of_targets_are_refused(translator: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    for count in (1, 3):
        (tmp_path / "targets.txt").write_text("un\n" * count)
        with pytest.raises(config.Mistake, match="targets.txt: allowed is a file of 2 lines like the input"):
            job(f"checkpoint={translator}", "mode=score", f"input={tmp_path}/in.txt", f"targets={tmp_path}/targets.txt")
