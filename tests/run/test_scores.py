"""The printed scores are sacrebleu's, and significance is found where there is some, and none between equals."""

import random
import re
from pathlib import Path

import pytest
import sacrebleu

from throughtime import config
from throughtime.run.decode.scores import References, _lines
from throughtime.train.quality import ExactMatch

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "The", "Dog", "slept", "under", "one", "tree"]
NONE = config.Metrics([])


def sentences(seed: int, count: int = 60) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=8)) for _ in range(count)]


def worsened(texts: list[str], rate: float, seed: int = 1) -> list[str]:
    chance = random.Random(seed)
    return [" ".join("dog" if chance.random() < rate else word for word in text.split()) for text in texts]


def printed(
    references: References, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> dict[str, tuple[list[float], str]]:
    """Name -> the numbers of its row, and the signature."""
    capsys.readouterr()
    references.texts = texts
    references.report()
    lines = capsys.readouterr().err.splitlines()
    return {
        line[:16].rstrip(): (
            [float(number) for number in re.findall(r"\d+\.\d+", line[16 : line.index("nrefs")])],
            line[line.index("nrefs") :],
        )
        for line in lines
    }


def test_they_are_sacrebleus(capsys: pytest.CaptureFixture[str]) -> None:
    streams = [sentences(1), worsened(sentences(1), 0.1, seed=5)]
    texts = worsened(sentences(1), 0.2)
    found = printed(References(["one", "two"], streams, None, 200, NONE), texts, capsys)
    bleu, lowered = sacrebleu.BLEU(), sacrebleu.BLEU(lowercase=True)
    expected = {"bleu": bleu, "bleu_lowercase": lowered, "chrf": sacrebleu.CHRF(), "ter": sacrebleu.TER()}
    for name, metric in expected.items():
        score = metric.corpus_score(texts, streams, n_bootstrap=200)
        (value, confidence), signature = found[name]
        assert value == pytest.approx(score.score, abs=0.005)
        assert confidence == pytest.approx(score._ci, abs=0.005) and confidence > 0
        assert signature == str(metric.get_signature()).replace("bs:None", "bs:200")
    matches = [text in both for text, *both in zip(texts, *streams, strict=True)]
    assert 0 < sum(matches) < 60
    assert found["exact_match"][0][0] == pytest.approx(100 * sum(matches) / 60, abs=0.005)


def test_without_bootstrap_there_is_no_confidence(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(References(["one"], [sentences(1)], None, 0, NONE), sentences(1), capsys)
    assert found["bleu"][0] == [100]
    assert found["ter"][0] == [0]


def test_the_better_of_two_is_told_from_its_equal(capsys: pytest.CaptureFixture[str]) -> None:
    truth = sentences(1, 200)
    good, bad = worsened(truth, 0.1), worsened(truth, 0.4)
    better = printed(References(["one"], [truth], ("bad", bad), 300, NONE), good, capsys)
    for name, (numbers, _) in better.items():
        ours, _, theirs, _, chance = numbers
        assert (ours < theirs) if name == "ter" else (ours > theirs)
        assert chance < 0.05
    equal = printed(References(["one"], [truth], ("good", good), 300, NONE), good, capsys)
    assert all(numbers[-1] == 1 for numbers, _ in equal.values())


def test_of_several_references_the_closest_counts_and_the_odd_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = config.Metrics(["token_error_rate", "rouge1"])
    references = References(["far", "near"], [["x y"], ["a b"]], None, 0, metrics)
    references.texts = ["a b"]
    references.report()
    rows = [row.split()[:2] for row in capsys.readouterr().err.splitlines()]
    assert rows[-2:] == [["token_error_rate", "0.00"], ["rouge1", "100.00"]]
    references = References(["one"], [["a", "b"]], ("other", ["a"]), 300, NONE)
    references.texts = ["a", "b"]
    with pytest.raises(config.Mistake, match="baseline=other: allowed is as many lines as the input had, 2, not 1"):
        references.report()


def test_exact_match_is_resampled() -> None:
    texts = ["yes"] * 70 + ["no"] * 30
    score = ExactMatch().corpus_score(texts, [["yes"] * 100], n_bootstrap=2000)
    assert score.score == 70
    assert score._ci == pytest.approx(1.96 * 100 * (0.7 * 0.3 / 100) ** 0.5, rel=0.1)


def test_what_the_checkpoint_measured_is_added(capsys: pytest.CaptureFixture[str]) -> None:
    references = References(
        ["one"], [["x = 1", "y ="]], None, 0, config.Metrics(["exact_match", "bleu_zh", "parses", "rouge1"])
    )
    references.texts = ["x = 1", "y = 2"]
    references.report()
    rows = capsys.readouterr().err.splitlines()
    assert [row.split()[:2] for row in rows[4:]] == [
        ["exact_match", "50.00"],
        ["bleu_zh", "0.00"],
        ["parses", "100.00"],
        ["rouge1", "83.33"],
    ]


def test_references_in_json_lines(tmp_path: Path) -> None:
    (tmp_path / "references.jsonl").write_text('{"target": "two\\nlines"}\n{"text": "one"}\n')
    assert _lines("references", str(tmp_path / "references.jsonl"), 2) == ["two\nlines", "one"]
    (tmp_path / "written.jsonl").write_text(
        '{"line": 1, "source": "1", "hypotheses": [{"text": "one"}, {"text": "two"}]}\n'
    )
    assert _lines("baseline", str(tmp_path / "written.jsonl"), 1) == ["one"]
    for row in ('["two"]', '{"target": null}', '{"hypotheses": []}', '{"target": ["a", "b"]}'):
        (tmp_path / "references.jsonl").write_text(row + "\n")
        with pytest.raises(config.Mistake, match="JSON objects with a text under target, reference, text"):
            _lines("references", str(tmp_path / "references.jsonl"), 1)


def test_a_file_in_a_folder_of_references_may_be_empty(tmp_path: Path) -> None:
    for name, content in (("a.txt", "one\n"), ("b.txt", ""), ("c.txt", "two\n")):
        (tmp_path / name).write_text(content)
    assert _lines("references", str(tmp_path), 2) == ["one", "two"]


def test_another_number_of_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(config.Mistake, match="references=one: allowed is as many lines as the input had, 2, not 3"):
        References(["one"], [["a", "b", "c"]], None, 0, NONE, texts=["a", "b"]).report()
