"""Where the rows come from: splits that do not overlap, text kept whole, every file format, local datasets."""

import codecs
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from tests.conftest import settings

from throughtime import config
from throughtime.data import corpus, numbers
from throughtime.data.paths import read_lines
from throughtime.data.prepare import prepare
from throughtime.data.splits import SPLITS
from throughtime.data.text_files import PIECE

ROWS = [(f"source {place}", f'target, "{place}"') for place in range(20)]


def pairs_of(splits: dict) -> list[tuple[str, str]]:
    return [(row["source"], row["target"]) for split in SPLITS for row in splits[split]]


def test_numbers_stand_in_one_split_only() -> None:
    data = settings("data.largest=999", "data.train=500", "data.validation=200", "data.test=200").data
    rows = pairs_of(corpus.read(data))
    assert len(set(rows)) == 900
    assert pairs_of(corpus.read(data)) == rows


def test_a_language_without_words_for_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "num2words", lambda number, lang: {"en": "a number"}[lang])
    with pytest.raises(
        config.Mistake, match=r"data.target_language=fr: allowed is a language in which num2words can write \d+"
    ):
        corpus.read(settings().data)


def test_docstrings_of_a_file_stay_together() -> None:
    splits = corpus.read(settings("data=stdlib_docs").data)
    texts = {split: set(splits[split]["text"]) for split in SPLITS}
    sizes = {split: sum(map(len, texts[split])) for split in SPLITS}
    assert sum(sizes.values()) > 1_000_000
    assert 0.8 < sizes["train"] / sum(sizes.values()) < 0.95
    assert not texts["train"] & texts["test"]


@pytest.mark.parametrize("text", ["one line\n" * 5000, "no line end " * 5000, "ü€😀" * 99_999, "word\r\n" * 2000])
def test_a_text_is_cut_but_not_changed(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(text[: len(text) // 2].encode())
    (tmp_path / "b.txt").write_bytes(text[len(text) // 2 :].encode())
    splits = corpus.read(settings("data=text", f"data.path='{tmp_path}/*.txt'").data)
    parts = {split: "".join(row["text"] for row in splits[split]) for split in SPLITS}
    assert parts["train"] + parts["validation"] + parts["test"] == text
    assert len(parts["validation"]) == pytest.approx(0.05 * len(text), rel=0.1)
    assert max(len(row["text"].encode()) for row in splits["train"]) <= 2 * PIECE  # so much is held at once


@pytest.mark.parametrize("text", [f"{'a line ' * 290}\n" * 15, f"{'x' * 5000}\n"])
def test_every_split_has_its_share_of_long_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    splits = corpus.read(settings("data=text", f"data.path={tmp_path}/a.txt").data)
    parts = {split: "".join(row["text"] for row in splits[split]) for split in SPLITS}
    assert parts["train"] + parts["validation"] + parts["test"] == text
    assert all(0.02 * len(text) < len(parts[split]) < 0.1 * len(text) for split in ("validation", "test"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_line_may_be_a_document(tmp_path: Path, end: str) -> None:
    lines = [f"line {place} " + "long " * (place % 7 * 5_000 * (place < 25)) for place in range(60)]
    lines[30] = ""
    (tmp_path / "a.txt").write_bytes(end.join(lines).encode())
    splits = corpus.read(settings("data=text", f"data.path={tmp_path}/a.txt", "data.documents=lines").data)
    found: list[str] = []
    for row in (row for split in ("train", "validation", "test") for row in splits[split]):
        found = [*found, row["text"]] if row["begins"] else [*found[:-1], found[-1] + row["text"]]
    assert found == lines


def table(folder: Path, kind: str) -> list[str]:
    """Writes ROWS in a format and gives the overrides that read them."""
    if kind == "aligned":
        for side, place in (("source", 0), ("target", 1)):
            (folder / side).write_text("".join(row[place] + "\n" for row in ROWS))
        return [f"data.source_path={folder}/source", f"data.target_path={folder}/target"]
    lines = {
        "tsv": [f"{source}\t{target}\textra" for source, target in ROWS],
        "csv": ["en,fr", *('{},"{}"'.format(source, target.replace('"', '""')) for source, target in ROWS)],
        "jsonl": [json.dumps({"source": source, "target": target}) for source, target in ROWS],
    }[kind]
    (folder / f"pairs.{kind}").write_text("\n".join(lines) + "\n")
    named = ["data.source_field=en", "data.target_field=fr"] if kind == "csv" else []
    return [f"data.path={folder}/pairs.{kind}", *named]


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl", "aligned"])
def test_every_format_gives_the_same_pairs(tmp_path: Path, kind: str) -> None:
    splits = corpus.read(settings("data=pairs", *table(tmp_path, kind)).data)
    assert sorted(pairs_of(splits)) == sorted(ROWS)
    assert [len(splits[split]) for split in SPLITS] == [18, 1, 1]


def test_a_carriage_return_within_a_field_is_a_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_bytes(b"a\rb\tc\n\nd\te\n")
    splits = corpus.read(settings("data=pairs", f"data.path={tmp_path}/pairs.tsv").data)
    assert sorted(pairs_of(splits)) == [("a\rb", "c"), ("d", "e")]


def test_an_open_quote_is_told_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text('a,b\n"c\nd",e\n"f,g\n' + "h,i\n" * 9)
    with pytest.raises(config.Mistake, match="in each line; line 4 is not"):
        corpus.read(settings("data=pairs", f"data.path={tmp_path}/pairs.csv").data)


def test_unique_pairs_are_in_one_split(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("".join(f"{place % 20}\t{place % 20}\n" for place in range(60)))
    path = ["data=pairs", f"data.path={tmp_path}/pairs.tsv", "data.test_share=0.2", "data.validation_share=0.2"]
    assert len(pairs_of(corpus.read(settings(*path).data))) == 60
    assert len(set(pairs_of(corpus.read(settings(*path, "data.unique=true").data)))) == 20
    assert [len(rows) for rows in corpus.read(settings(*path, "data.unique=true").data).values()] == [12, 4, 4]


@pytest.mark.parametrize("given", [[], ["test"], ["validation"], ["test", "validation"]])
def test_a_share_is_one_of_the_whole_text(tmp_path: Path, given: list[str]) -> None:
    """Whichever other split has a file of its own."""
    (tmp_path / "text.txt").write_text("x\n" * 10_000)
    paths = [f"data.{split}_path={tmp_path}/text.txt" for split in given]
    shares = ["data.validation_share=0.3", "data.test_share=0.5"]
    splits = corpus.read(settings("data=text", f"data.path={tmp_path}/text.txt", *shares, *paths).data)
    expected = {"validation": 3_000, "test": 5_000} | dict.fromkeys(given, 10_000)
    expected["train"] = 10_000 - sum(expected[split] for split in {"validation", "test"} - set(given))
    for split, lines in expected.items():
        assert sum(row["text"].count("x") for row in splits[split]) == pytest.approx(lines, abs=2)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(codecs.BOM_UTF8 + b"one two\nthree four\n" * 20)
    splits = corpus.read(settings("data=text", f"data.path={tmp_path}/text.txt").data)
    assert next(iter(splits["train"]))["text"].startswith("one two")
    (tmp_path / "pairs.csv").write_bytes(codecs.BOM_UTF8 + b"en,fr\n" + b"a,b\n" * 40)
    named = ["data.source_field=en", "data.target_field=fr"]
    splits = corpus.read(settings("data=pairs", f"data.path={tmp_path}/pairs.csv", *named).data)
    assert set(pairs_of(splits)) == {("a", "b")}


def test_a_carriage_return_ends_no_line_and_fields_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes(b"a\rb\r\nc\n")
    assert read_lines("input", f"{tmp_path}/lines.txt") == ["a\rb", "c"]
    (tmp_path / "pairs.tsv").write_text(f"{'x' * 200_000}\ty\n" * 40)
    splits = corpus.read(settings("data=pairs", f"data.path={tmp_path}/pairs.tsv").data)
    assert set(pairs_of(splits)) == {("x" * 200_000, "y")}


@pytest.mark.parametrize("streaming", ["false", "true"])
@pytest.mark.parametrize("value", [None, ["a", "b"]])
def test_rows_of_a_dataset_hold_texts(tmp_path: Path, value: object, streaming: str) -> None:
    rows = Dataset.from_list([{"source": "a", "target": value}] * 20)
    DatasetDict({"train": rows}).save_to_disk(tmp_path / "saved")
    fields = ["data=hf", f"data.path={tmp_path}/saved", "data.source_field=source", "data.target_field=target"]
    fields += [f"data.streaming={streaming}", "data.validation_split=train", "data.test_split=train"]
    with pytest.raises(config.Mistake, match="data.target_field=target: allowed is a column of texts"):
        pairs_of(corpus.read(settings(*fields).data))
    with pytest.raises(config.Mistake, match="data.test_split=held: allowed is train, the whole splits that"):
        corpus.read(settings(*fields, "data.test_split=held").data)


def test_a_streamed_row_without_a_text_is_told_as_such(tmp_path: Path) -> None:
    rows = Dataset.from_list([{"source": "a", "target": target} for target in ("b", "c", None)])
    DatasetDict({"train": rows}).save_to_disk(tmp_path / "saved")
    splits = ["data.streaming=true", "data.validation_split=train", "data.test_split=train", "tokenizer=byte"]
    fields = ["data.source_field=source", "data.target_field=target"]
    plain = settings("data=hf", f"data.path={tmp_path}/saved", *fields, *splits)
    with pytest.raises(config.Mistake, match="data.target_field=target: .* row 2 of train holds nothing"):
        prepare(plain.data, plain.tokenizer, tmp_path / "cache")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_saved_dataset(tmp_path: Path, streaming: bool) -> None:
    rows = Dataset.from_list([{"translation": {"en": source, "de": target}} for source, target in ROWS])
    DatasetDict({"train": rows, "dev": rows.select(range(3)), "held": rows.select(range(2))}).save_to_disk(
        tmp_path / "saved"
    )
    fields = ["data.source_field=translation.en", "data.target_field=translation.de"]
    named = ["data.validation_split=dev", "data.test_split=held", f"data.streaming={str(streaming).lower()}"]
    splits = corpus.read(settings("data=hf", f"data.path={tmp_path}/saved", *fields, *named).data)
    assert pairs_of(splits) == [*ROWS, *ROWS[:3], *ROWS[:2]]


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_a_saved_dataset_stays_as_it_is_and_the_cache_holds_it_once(tmp_path: Path, streaming: str) -> None:
    rows = Dataset.from_list([{"source": source, "target": target} for source, target in ROWS])
    DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "saved")
    fields = ["data.source_field=source", "data.target_field=target", f"data.streaming={streaming}", "tokenizer=byte"]
    splits = ["data.validation_split=test", "data.test_split=test"]
    before = sorted((tmp_path / "saved").rglob("*"))
    plain = settings("data=hf", f"data.path={tmp_path}/saved", *fields, *splits)
    folder = prepare(plain.data, plain.tokenizer, tmp_path / "cache").folder
    assert sorted((tmp_path / "saved").rglob("*")) == before
    assert len(list(folder.rglob("*.arrow"))) == 3


def test_columns_may_have_dots_and_spaces(tmp_path: Path) -> None:
    rows = Dataset.from_list([{"a.b": source, "c d": {"e": {"f": target}}} for source, target in ROWS])
    rows.save_to_disk(tmp_path / "saved")  # without a DatasetDict around it: `train` alone
    fields = ["data=hf", f"data.path={tmp_path}/saved", "data.source_field=a.b"]
    shares = ["data.validation_share=0.2", "data.test_share=0.2"]
    splits = corpus.read(settings(*fields, "data.target_field='c d.e.f'", *shares).data)
    assert pairs_of(splits) == ROWS
    with pytest.raises(config.Mistake, match=r"data.target_field=f: allowed is a.b or c d.e.f\.$"):
        corpus.read(settings(*fields, "data.target_field=f").data)


def test_a_split_that_is_not_asked_for_may_be_empty(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"text": ["some words"] * 40})
    DatasetDict({"train": rows, "test": rows.select([])}).save_to_disk(tmp_path / "saved")
    given = ["data=hf", f"data.path={tmp_path}/saved", "data.text_field=text", "model=language_model"]
    assert len(list(corpus.read(settings(*given).data)["train"])) == 36
    with pytest.raises(config.Mistake, match="data.test_split=test: allowed is a split with rows in it"):
        corpus.read(settings(*given, "data.test_split=test").data)
    with pytest.raises(config.Mistake, match="data.subset=small: allowed is null with data.path="):
        corpus.read(settings(*given, "data.subset=small").data)


def test_an_unknown_split_of_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.jsonl").write_text('{"text": "some words"}\n' * 40)
    given = ["data=hf", f"data.path={tmp_path}/files", "data.text_field=text", "model=language_model"]
    with pytest.raises(config.Mistake, match="data.train_split=trian: allowed is a split of"):
        corpus.read(settings(*given, "data.train_split=trian").data)
    assert len(list(corpus.read(settings(*given, "data.train_split='train[:50%]'").data)["train"])) == 18


def test_shares_lie_in_the_order_of_a_texts(tmp_path: Path) -> None:
    """Train, validation, test."""
    (tmp_path / "pairs.tsv").write_text("".join(f"{number}\t{number}\n" for number in range(10)))
    shares = ["data.validation_share=0.2", "data.test_share=0.3"]
    splits = corpus.read(settings("data=pairs", f"data.path={tmp_path}/pairs.tsv", *shares).data)
    assert [source for source, _ in pairs_of(splits)] == [str(number) for number in range(10)]
    assert [len(splits[split]) for split in ("train", "validation", "test")] == [5, 2, 3]


def test_what_a_killed_job_left_half_written_goes(tmp_path: Path) -> None:
    numbers = settings("data.largest=300", "data.train=40", "data.validation=4", "data.test=4")
    for name, age in (("preparing-old", 90_000), ("preparing-now", 0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    prepared = prepare(numbers.data, numbers.tokenizer, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"preparing-now", prepared.folder.name}


def test_shares_of_a_dataset_too_small_for_them(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"source": ["a", "b"], "target": ["c", "d"]})
    DatasetDict({"train": rows}).save_to_disk(tmp_path / "saved")
    fields = ["data.source_field=source", "data.target_field=target"]
    small = settings("data=hf", f"data.path={tmp_path}/saved", *fields)
    assert [len(list(rows)) for rows in corpus.read(small.data).values()] == [2, 0, 0]
    with pytest.raises(config.Mistake, match=r"data\.validation_share=0\.05: allowed is enough of the data"):
        prepare(small.data, small.tokenizer, tmp_path)


def test_a_joint_tokenizer_knows_both_sides(tmp_path: Path) -> None:
    numbers = settings("data.largest=300", "data.train=40", "data.validation=4", "data.test=4", "tokenizer=word")
    found = {joint: prepare(numbers.data, replace(numbers.tokenizer, joint=joint), tmp_path) for joint in (True, False)}
    source, target = found[True].tokenizers.values()
    assert source.state() == target.state()
    apart = [set(tokenizer.state()["vocabulary"]) for tokenizer in found[False].tokenizers.values()]
    assert set(source.state()["vocabulary"]) == apart[0] | apart[1]
