"""Whatever a line holds, it gets one answer, in its place; and a file's lines are read a block at a time."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.run.conftest import job

from throughtime import compose, config
from throughtime.data import tokenizer
from throughtime.run.decode.questions import encoded
from throughtime.run.decode.reading import Line, blocks_by_now, packed, whole_blocks

Decoded = Callable[..., bytes]

STRANGE = {
    b"": "",
    b" \t ": "",
    b"caf\xe9": "line 2 is no UTF-8 (byte 0xe9)",
    b"x" * 300: "line 2 is 300 tokens long; the first longest=100 of them are read.",
    b"a\x00b": "",
    "\u2028\u0085 \U0001f600".encode(): "",
    b"forty\rtwo": "",
}


@pytest.mark.parametrize("line", STRANGE, ids=range(len(STRANGE)))
def test_every_line_is_answered(
    line: bytes, translator: Path, decoded: Decoded, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("search=greedy", "longest=100", "batch=1")
    neighbours = decoded(translator, b"one\ntwo\n", *common).splitlines()
    capsys.readouterr()
    written = decoded(translator, b"one\n" + line + b"\ntwo\n", *common).split(b"\n")
    assert len(written) == 4
    assert [written[0], written[2], written[3]] == [*neighbours, b""]
    assert line.strip() or not written[1]
    remarks = capsys.readouterr().err
    assert len(remarks.splitlines()) == bool(STRANGE[line])
    assert STRANGE[line] in remarks


def test_ends_of_lines(translator: Path, decoded: Decoded) -> None:
    unix = decoded(translator, b"one\ntwo\n")
    assert decoded(translator, b"one\r\ntwo\r\n") == unix
    assert decoded(translator, b"\xef\xbb\xbfone\ntwo") == unix
    assert decoded(translator, b"") == b""


def test_characters_never_seen_are_left_out(
    language_model: Path, decoded: Decoded, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = decoded(language_model, b"the cat\n", "search=greedy")
    capsys.readouterr()
    assert decoded(language_model, "the \u4e16cat\n".encode(), "search=greedy") == plain
    assert "line 1 holds '\u4e16', which the model never saw" in capsys.readouterr().err


def test_a_letter_that_grows_in_lowercase() -> None:
    found = tokenizer.fit(config.PlainTokenizer("char", lowercase=True, joint=False), ["abc"])
    ids, remarks = encoded(found, "ab\u0130", 100)
    assert ids == found.encode("ab")
    assert "which the model never saw" in remarks[0]


@pytest.mark.parametrize("kind", ["link", "link to nothing yet", "pipe"])
def test_what_stands_under_the_outputs_name_stays(
    kind: str, translator: Path, decoded: Decoded, tmp_path: Path
) -> None:
    wanted, place = decoded(translator, b"one\ntwo\n", "search=greedy"), tmp_path / "place"
    if kind != "pipe":
        if kind == "link":
            (tmp_path / "named.txt").write_text("before")
        place.symlink_to(tmp_path / "named.txt")
        job(f"checkpoint={translator}", f"input={tmp_path}/in.txt", f"output={place}", "search=greedy")
        assert place.is_symlink()
        assert place.read_bytes() == wanted
        return
    os.mkfifo(place)
    with subprocess.Popen(["cat", place], stdout=subprocess.PIPE) as reader:
        job(f"checkpoint={translator}", f"input={tmp_path}/in.txt", f"output={place}", "search=greedy")
        assert reader.communicate(timeout=60)[0] == wanted
    assert place.is_fifo()


@pytest.mark.parametrize("output", ["-", "out.txt"])
def test_a_pipe_is_read_by_its_name(
    output: str,
    translator: Path,
    decoded: Decoded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    wanted = decoded(translator, b"one\ntwo\n", "search=greedy")
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with subprocess.Popen("cat in.txt > pipe", shell=True):
        job(f"checkpoint={translator}", "input=pipe", f"output={output}", "search=greedy")
    assert (capsysbinary.readouterr().out if output == "-" else Path(output).read_bytes()) == wanted


def test_a_language_model_goes_on_from_nothing(language_model: Path, decoded: Decoded) -> None:
    assert decoded(language_model, b"\n", "search=greedy").strip()


def test_a_byte_order_mark_begins_no_text(translator: Path, tmp_path: Path) -> None:
    """Of whichever line, as of files that were joined."""
    for name, text in (("with", "\ufeffone\n\ufefftwo\n"), ("without", "one\ntwo\n")):
        (tmp_path / f"{name}.txt").write_text(text)
        job(f"checkpoint={translator}", f"input={tmp_path}/{name}.txt", f"output={tmp_path}/{name}.out.txt")
    assert (tmp_path / "with.out.txt").read_text() == (tmp_path / "without.out.txt").read_text()


def test_json_lines(translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ['{"source": "one", "id": 7}', '{"text": "two"}', "{", "[]", '{"source": 5}', '{"prompt": "\\ud800"}']
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    files = [f"input={tmp_path}/in.jsonl", f"output={tmp_path}/out.jsonl"]
    job(f"checkpoint={translator}", *files, "search.n_best=2")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["source"] for row in found] == ["one", "two", "", "", "", "\ufffd"]
    assert [row["line"] for row in found] == [1, 2, 3, 4, 5, 6]
    assert [len(row["hypotheses"]) for row in found] == [2, 2, 1, 1, 1, 2]
    keys = {"text", "tokens", "score", "log_probability", "normalised_score", "length", "finished"}
    for hypothesis in (hypothesis for row in found for hypothesis in row["hypotheses"]):
        assert set(hypothesis) == keys
        assert hypothesis["length"] == len(hypothesis["tokens"]) + (hypothesis["finished"] and hypothesis["length"] > 0)
    remarks = capsys.readouterr().err.splitlines()
    assert [remark.split(" line ")[1][0] for remark in remarks] == ["3", "4", "5"]


def test_a_prefix_is_how_the_answer_begins(
    translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"source": "one", "prefix": prefix} for prefix in ("de", None, 5)]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = [f"input={tmp_path}/in.jsonl", f"output={tmp_path}/out.txt"]
    job(f"checkpoint={translator}", *files, "search=greedy")
    forced, free, strange = (tmp_path / "out.txt").read_text().splitlines()
    assert forced.startswith("de")
    assert not free.startswith("de")
    assert strange == free
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith("line 3 has a prefix that is no text, 5; it is left out.")


def test_what_a_line_asks_for_is_in_its_answers(
    translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [["zq", "xx"], None, [], "zq", ["q"]]
    rows = [{"source": "one", "contains": contains} for contains in wanted]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = [f"input={tmp_path}/in.jsonl", f"output={tmp_path}/out.txt"]
    job(f"checkpoint={translator}", *files)
    asked, *free, other = (tmp_path / "out.txt").read_text().splitlines()
    assert "zq" in asked and "xx" in asked and "q" in other
    assert len(set(free)) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith('line 4 has under contains no list of texts, but "zq"; it is left out.')
    job(f"checkpoint={translator}", *files, "search=greedy")
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" line ")[1] for line in told if "search=beam" in line] == [
        f"{place} asks for texts to be contained, for which there is search=beam with one group." for place in (1, 5)
    ]


def test_of_many_strange_lines_the_first_are_told(
    translator: Path, decoded: Decoded, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    decoded(translator, b"\xff\n" * 25, "search=greedy")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 11
    assert told[-1] == "15 more lines were answered with such remarks."


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_order_and_batches_change_nothing(search: str, translator: Path, decoded: Decoded) -> None:
    lines = [b"one hundred and %d" % number * (number % 5 + 1) for number in range(20)]
    forwards = decoded(translator, b"\n".join(lines), f"search={search}", "batch=3", "read_ahead=7").splitlines()
    backwards = decoded(translator, b"\n".join(lines[::-1]), f"search={search}").splitlines()
    assert forwards == backwards[::-1]


def test_a_folder_is_mirrored(translator: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, content in {
        "a.txt": "one\n",
        "deep/b.jsonl": '{"source": "two"}\n',
        "empty.txt": "",
        ".hidden": "x",
    }.items():
        (tmp_path / "in" / name).write_text(content)
    job(f"checkpoint={translator}", f"input={tmp_path}/in", f"output={tmp_path}/out")
    written = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.*")}
    assert set(written) == {"a.txt", "deep/b.jsonl", "empty.txt"}
    assert len(written["a.txt"].read_text().splitlines()) == 1
    assert json.loads(written["deep/b.jsonl"].read_text())["source"] == "two"
    assert written["empty.txt"].read_bytes() == b""


def test_several_files_one_after_the_other(
    translator: Path, tmp_path: Path, decoded: Decoded, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    together = decoded(translator, b"one\ntwo\n", "batch=1")
    (tmp_path / "first.txt").write_text("one\n")
    (tmp_path / "second.txt").write_text("two\n")
    capsysbinary.readouterr()
    job(f"checkpoint={translator}", f"input=[{tmp_path}/first.txt,{tmp_path}/second.txt]", "batch=1")
    assert capsysbinary.readouterr().out == together


def test_batches_hold_all_lines_once_and_fit() -> None:
    block = [Line(place, b"x" * (place * 37 % 50)) for place in range(1, 101)]
    batches = packed(block, 8, room=100)
    assert sorted(line for batch in batches for line in batch) == sorted(block)
    assert all(len(batch) == 1 or len(batch) * max(len(line.raw) for line in batch) <= 100 for batch in batches)
    assert max(map(len, batches)) == 8


def test_a_pipe_is_read_as_far_as_it_goes() -> None:
    out, into = os.pipe()
    with open(out, "rb") as file:
        blocks = blocks_by_now(file, 2)
        os.write(into, b"a\nb\r\nc\nd")
        assert next(blocks) == [Line(1, b"a"), Line(2, b"b")]
        assert next(blocks) == [Line(3, b"c")]
        assert next(blocks) is None
        os.write(into, b"e\n\nf")
        os.close(into)
        assert [block for block in blocks if block] == [[Line(4, b"de"), Line(5, b"")], [Line(6, b"f")]]


def test_whole_blocks_lie_where_they_lie() -> None:
    lines = b"".join(b"%d\n" % number for number in range(1, 12))
    whole = list(whole_blocks(io.BytesIO(lines), 0, 4))
    rest = io.BytesIO(lines)
    for _ in range(8):
        next(rest)
    assert list(whole_blocks(rest, 8, 4)) == whole[2:]
    assert [line.place for block in whole for line in block] == list(range(1, 12))


def test_an_answer_comes_before_the_next_line(translator: Path) -> None:
    line = [sys.executable, str(ROOT / "decode.py"), f"checkpoint={translator}", "search=greedy", "search.max_length=8"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin and running.stdout
        for _ in range(3):
            running.stdin.write("one\n")
            running.stdin.flush()
            assert running.stdout.readline().endswith("\n")
        running.stdin.close()
        assert running.stdout.read() == ""
    assert running.returncode == 0


def test_several_processes_write_what_one_does(translator: Path, decoded: Decoded) -> None:
    lines = b"".join(b"number %d\n" % number for number in range(40))
    common = ("search=sample", "search.samples=2", "batch=4", "read_ahead=8")
    assert decoded(translator, lines, *common, "devices=2") == decoded(translator, lines, *common)


def test_memory_does_not_grow_with_the_lines(translator: Path, tmp_path: Path) -> None:
    """60 MB of lines, which the program would be far larger with, were it to keep them."""

    def peak(count: int) -> int:
        (tmp_path / "in.txt").write_bytes((b"x" * 20_000 + b"\n") * count)
        files = [f"checkpoint={translator}", f"input={tmp_path}/in.txt", f"output={tmp_path}/out.txt", "read_ahead=64"]
        small = ["search=greedy", "search.max_length=1", "longest=4"]
        running = subprocess.Popen([sys.executable, str(ROOT / "decode.py"), *files, *small], stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(running.pid, 0)
        assert status == 0
        assert (tmp_path / "out.txt").read_bytes().count(b"\n") == count
        return used.ru_maxrss

    assert peak(3000) < 1.1 * peak(100)


def test_a_mistake_in_a_process_reaches_the_user(translator: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.ckpt").write_bytes(b"PK")
    (tmp_path / "in.txt").write_text("one\n")
    values = compose.composed("decode", [f"checkpoint={tmp_path}/broken.ckpt", f"input={tmp_path}/in.txt", "devices=2"])
    with pytest.raises(config.Mistake, match="broken.ckpt: allowed is a whole checkpoint"):
        job(*[f"{name}={values[name]}" for name in ("checkpoint", "input", "devices")])
