"""A disk that fills up: one sentence, exit code 2, and what was written before stays whole."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS, ROOT, TINY

from throughtime import compose, config
from throughtime.run import decoding, training

Program = Callable[..., subprocess.CompletedProcess[str]]


class FullDisk:
    """Files whose name begins so are written, until there have been `room` of them; then half of one fits."""

    def __init__(self, name: str, room: int):
        self.name, self.room = name, room
        self._write_bytes, self._write_text = Path.write_bytes, Path.write_text

    def bytes(self, path: Path, content: bytes) -> None:
        self._refuse(path, bytes(content))
        self._write_bytes(path, content)

    def text(self, path: Path, content: str, encoding: str | None = None) -> None:
        self._refuse(path, content.encode())
        self._write_text(path, content, encoding)

    def _refuse(self, path: Path, content: bytes) -> None:
        if path.name.startswith(self.name):
            self.room -= 1
            if self.room < 0:
                self._write_bytes(path, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("name", "room"), [("last.ckpt", 1), ("best.ckpt", 1), ("summary.json", 1), ("epoch=001", 0)])
def test_a_run(
    name: str, room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, run = FullDisk(name, room), tmp_path / "run"
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: disk.bytes(path, content))
    monkeypatch.setattr(Path, "write_text", lambda path, content, encoding=None: disk.text(path, content, encoding))
    overrides = [*TINY, *FEW_NUMBERS, "trainer.epochs=3", f"outputs={tmp_path}/outputs"]
    with pytest.raises(SystemExit) as ending, compose.one_sentence():
        training.run(compose.composed("train", overrides), run, overrides)
    assert ending.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {run}") and line.endswith("can't be used: No space left on device.")
    assert not list(run.rglob("*.writing"))
    summary = json.loads((run / "summary.json").read_text())
    assert summary["state"] == ("running" if name == "summary.json" else "failed")
    assert summary["error"] is None or line == f"error: {summary['error']}"
    for checkpoint in (run / "checkpoints").glob("*.ckpt"):
        assert torch.load(checkpoint, weights_only=True)["throughtime"]
    assert [json.loads(line) for line in (run / "samples" / "epoch=000.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("devices", [1, 2])
def test_the_program_at_a_limit_of_the_system(tmp_path: Path, devices: int) -> None:
    """The operating system's own refusal of a checkpoint, here by the largest size of a file, with one process and two."""
    several = ["trainer=ddp", "trainer.accelerator=cpu"] if devices == 2 else []
    line = [sys.executable, str(ROOT / "train.py"), *TINY, *FEW_NUMBERS, *several, "hydra.run.dir=run"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, check=False, preexec_fn=limit_files)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence == f"error: {tmp_path}/run/checkpoints/best.ckpt can't be used: File too large."
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["state"] == "failed"
    assert f"error: {summary['error']}" == sentence
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))


LIMIT = 100_000  # bytes: the prepared corpus is smaller, a checkpoint larger


def test_decoding_leaves_the_old_output(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(*FEW_NUMBERS)
    (folder / "in.txt").write_text("one\n" * 2000)
    (folder / "out.txt").write_text("precious")
    capsys.readouterr()
    files = [f"checkpoint={folder}", f"input={folder}/in.txt", f"output={folder}/out.txt", "search=greedy", "batch=500"]
    settings = config.check(compose.composed("decode", [*files, "search.max_length=40"]), config.DecodeConfig)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SystemExit) as ending, compose.one_sentence():
            decoding.decode(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ending.value.code == 2
    assert capsys.readouterr().err == f"error: {folder}/out.txt can't be used: File too large.\n"
    assert (folder / "out.txt").read_text() == "precious"
    assert not list(folder.glob("*.writing"))


PLACES = {
    "> /dev/full": "standard output can't be used: No space left on device.",
    "output=/dev/full": "/dev/full can't be used: No space left on device.",
    ">&-": "output=-: allowed is a file where standard output is closed.",
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_decoding_where_nothing_can_be_written(train: Callable[..., Path]) -> None:
    folder = train(*FEW_NUMBERS)
    for place, sentence in PLACES.items():
        line = f"echo one | {sys.executable} {ROOT}/decode.py checkpoint={folder} {place}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, f"error: {sentence}\n")
