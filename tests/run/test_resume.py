"""A job that is killed and resumed writes what an unbroken one writes, byte for byte, wherever the kill fell."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.run.conftest import interrupted, job

from throughtime import config
from throughtime.run.decode.output import ResumableFile
from throughtime.run.decode.reading import Line

LINES = "".join(f"number {number}\n" for number in range(14))
SAMPLING = ["search=sample", "search.samples=2", "batch=2", "read_ahead=4", "precision=float32"]


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Copies of the output's folder as a kill would leave it: before each block, with half of it written, with all of it
    but no mark, and after its mark; also when a file is whole but has not its name yet."""
    taken: list[Path] = []
    add, leave = ResumableFile.add, ResumableFile.__exit__

    def take(half: str = "", file: ResumableFile | None = None) -> None:
        copy = tmp_path / "snapshots" / str(len(taken))
        shutil.copytree(tmp_path / "out", copy)
        if file is not None:
            with (copy / file._writing.name).open("ab") as there:
                there.write(half.encode())
        taken.append(copy)

    def adding(file: ResumableFile, block: list, written: str) -> None:
        take()
        take(written[: len(written) // 2], file)
        take(written, file)
        add(file, block, written)
        take()

    def leaving(file: ResumableFile, *error: object) -> None:
        monkeypatch.setattr("os.replace", lambda *paths: (take(), shutil.move(*paths)))
        leave(file, *error)

    monkeypatch.setattr(ResumableFile, "add", adding)
    monkeypatch.setattr(ResumableFile, "__exit__", leaving)
    return taken


@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_from_every_moment(
    form: str, translator: Path, tmp_path: Path, snapshots: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text(LINES + name)
    (tmp_path / "out").mkdir()
    common = [f"checkpoint={translator}", f"input={tmp_path}/in", f"format={form}", *SAMPLING]
    job(*common, f"output={tmp_path}/out")
    monkeypatch.undo()
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert len(whole) == 2
    assert len(snapshots) >= 32
    for snapshot in snapshots:
        job(*common, f"output={snapshot}", "resume=true")
        assert {path.name: path.read_bytes() for path in snapshot.iterdir()} == whole


def test_killed_at_random(translator: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(LINES * 60)
    common = [f"checkpoint={translator}", f"input={tmp_path}/in.txt", *SAMPLING, "search.max_length=30"]
    job(*common, f"output={tmp_path}/whole.txt")
    out, writing = tmp_path / "out.txt", tmp_path / "out.txt.writing"
    line = [sys.executable, str(ROOT / "decode.py"), *common, f"output={out}", "resume=true"]
    for number, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        before = writing.stat().st_size if writing.exists() else 0
        running = subprocess.Popen(line)
        while not (writing.exists() and writing.stat().st_size > before):
            time.sleep(0.005)
        time.sleep(random.Random().random() * 0.2)
        running.send_signal(number)
        assert running.wait() == code
        assert not out.exists()
    subprocess.run(line, check=True)
    assert out.read_bytes() == (tmp_path / "whole.txt").read_bytes()
    assert not list(tmp_path.glob("out.txt.*"))


@pytest.fixture
def stopped(translator: Path, tmp_path: Path) -> Callable[..., None]:
    """Starts a job that stops behind its second block; what it returns resumes it."""
    (tmp_path / "in.txt").write_text(LINES)
    common = [f"checkpoint={translator}", f"input={tmp_path}/in.txt", f"output={tmp_path}/out.txt", *SAMPLING]
    interrupted(*common)
    return lambda *overrides: job(*common, "resume=true", *overrides)


def test_an_interrupted_job_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], stopped: Callable[..., None], tmp_path: Path
) -> None:
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"{tmp_path}/out.txt.writing holds the first 8 lines; resume=true continues."
    )
    assert not (tmp_path / "out.txt").exists()
    stopped()
    assert (tmp_path / "out.txt").read_bytes().count(b"\n") == 28


def test_other_settings_are_refused(stopped: Callable[..., None]) -> None:
    with pytest.raises(
        config.Mistake, match=r"search\.temperature=0\.5: allowed is 0\.8, with which .*out\.txt\.resume"
    ):
        stopped("search.temperature=0.5")


NEGATIVE = '{"settings": {}, "lines": -1, "bytes": 3, "input": "", "done": false}'
NOTHING = '{"settings": {}, "lines": 0, "bytes": 3, "input": "", "done": false}'


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"settings": {}, "lines": "x"}', NEGATIVE, NOTHING])
def test_a_damaged_mark_is_told(content: str, stopped: Callable[..., None], tmp_path: Path) -> None:
    (mark,) = tmp_path.rglob("*.resume")
    mark.write_text(content)
    with pytest.raises(
        config.Mistake, match=rf"resume=.*: allowed is false, which starts again, as .*{mark.name} is damaged"
    ):
        stopped()


def test_other_lines_are_refused(
    stopped: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    (tmp_path / "in.txt").write_text(LINES.replace("number 3\n", "number 33\n"))
    with pytest.raises(config.Mistake, match="its lines have changed"):
        stopped()
    assert "resume=true continues" not in capsys.readouterr().err


def test_a_refused_resume_leaves_a_whole_output_where_it_is(tmp_path: Path) -> None:
    lines, target = [b"one\n", b"two\n"], tmp_path / "out.txt"
    with ResumableFile(target, {}, resume=False) as file:
        file.add([Line(place, raw.strip()) for place, raw in enumerate(lines, start=1)], "a\nb\n")
    with pytest.raises(config.Mistake, match="lines have changed"), ResumableFile(target, {}, resume=True) as again:
        again.take_up(iter([b"one\n", b"three\n"]))
    assert target.read_text() == "a\nb\n"
    assert not (tmp_path / "out.txt.writing").exists()


def test_another_number_of_processes_is_not(stopped: Callable[..., None], tmp_path: Path) -> None:
    stopped("devices=2")
    resumed = (tmp_path / "out.txt").read_bytes()
    (tmp_path / "out.txt").unlink()
    stopped()  # nothing is left to be resumed, so it begins anew
    assert (tmp_path / "out.txt").read_bytes() == resumed


def test_scores_count_the_lines_of_before(
    stopped: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "references.txt").write_text(LINES)
    stopped(f"references={tmp_path}/references.txt")
    resumed = capsys.readouterr().err.splitlines()[-5:]
    stopped(f"references={tmp_path}/references.txt")
    assert capsys.readouterr().err.splitlines()[-5:] == resumed
