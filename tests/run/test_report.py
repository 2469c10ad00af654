"""What a run and a sweep say on the terminal."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.conftest import FEW_NUMBERS

from throughtime.callbacks.progress import Progress
from throughtime.nn.engines import compiling
from throughtime.run import sweep
from throughtime.run.report import _console

TEXT = "see [/usr/lib] for list[int] :smile:"


def test_texts_are_shown_as_they_are(
    train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_console, "_width", 200)
    (tmp_path / "pairs.tsv").write_text(f"{TEXT}\t{TEXT}\n" * 60)
    train("data=pairs", f"data.path={tmp_path}/pairs.tsv", "tokenizer=char")
    told = capsys.readouterr().out
    assert told.count(TEXT) >= 3  # twice in the samples, and in the line that decodes the first again


def test_compile_time_is_that_of_the_run(train: Callable[..., Path]) -> None:
    """Not of those before it in the same process, as in a sweep."""
    compiling._SECONDS.append(1000.0)
    summary = json.loads((train(*FEW_NUMBERS) / "summary.json").read_text())
    compiling._SECONDS.remove(1000.0)
    assert summary["compile_seconds"] < 1000


def test_overrides_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = {"rank": None, "state": "failed", "error": "[/a]"}
    overrides = ["data.kinds=[one_fact]", "data.kinds=[two_facts]"]
    sweep.show(tmp_path, [{"job": str(job), "overrides": [text], **common} for job, text in enumerate(overrides)])
    told = capsys.readouterr().out
    assert "data.kinds=[one_fact]" in told and "failed: [/a]" in told


def test_the_speed_of_a_resumed_run_is_its_own() -> None:
    progress = Progress()
    assert progress.speed(0) is None
    progress.on_train_start(None, SimpleNamespace(tokens_seen=9_000))  # type: ignore[arg-type]
    progress.seconds = 2.0
    assert progress.speed(10_000) == 500
