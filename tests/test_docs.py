"""Every command line in the README and the docs passes the schema and runs, in a small way; every link leads somewhere."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.conftest import FEW_NUMBERS, OF_PAIRS, OF_TEXT, ROOT, STORY, TINY
from throughtime import compose, config
from throughtime.compose.command_line import overrides_in, parsed
from throughtime.compose.composing import jobs_of
from throughtime.compose.preflight import preflight
from throughtime.data import stdlib
from throughtime.run import decoding, training

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[str]:
    """The indented command lines of a page, continued lines joined, comments left out."""
    text = page.read_text().replace("\\\n", " ")
    lines = [line.strip().rpartition("| ")[2] for line in text.splitlines() if line.startswith("    ")]
    return [line.partition("  #")[0] for line in lines if line.startswith(("python train.py", "python decode.py"))]


COMMANDS = [(page.name, command) for page in PAGES for command in commands(page)]


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 15


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_command_is_accepted(
    page: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, program, *arguments = shlex.split(command.partition("<")[0])
    if {"--help", "--cfg"} & set(arguments):
        return
    name = program.removesuffix(".py")
    preflight(name, arguments)
    assert not capsys.readouterr().err  # no setting in it does nothing


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the commands name, and a run that has trained."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "books").mkdir()
    for name in ("book.txt", "books/one.txt", "held_out.txt"):
        (folder / name).write_text(STORY)
    lines = [f"line {number}" for number in range(60)]
    for name in ("train.en", "train.de", "val.en", "val.de", "source.txt", "target.txt"):
        (folder / name).write_text("\n".join(lines) + "\n")
    (folder / "pairs.tsv").write_text("".join(f"{line}\t{line}\n" for line in lines))
    (folder / "pairs.jsonl").write_text("".join(f'{{"en": "{line}", "de": "{line}"}}\n' for line in lines))
    code = (ROOT / "docs" / "own-cell.md").read_text().partition("```python\n")[2].partition("```")[0]
    (folder / "my_cells.py").write_text(code)
    few = [*TINY, *FEW_NUMBERS, "trainer.validate_every=2", "trainer.keep.last=2"]
    values = compose.composed("train", [*few, f"outputs={folder}/outputs"])
    training.run(values, folder / "outputs" / "first", few)
    beside = ["data=text", f"data.path={folder}/target.txt", "data.documents=lines", "tokenizer=taken"]
    few = [*TINY, *OF_TEXT, *beside, f"tokenizer.path={folder}/outputs/first"]
    training.run(compose.composed("train", [*few, f"outputs={folder}/outputs"]), folder / "outputs" / "writer", few)
    for older in (folder / "outputs" / "writer" / "checkpoints").iterdir():
        os.utime(older, (0, 0))  # the last run is the other one
    return folder


def first_job(arguments: list[str]) -> list[str]:
    """The overrides of a command's first job."""
    return next(jobs_of([parsed(text) for text in overrides_in(arguments)]))


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_command_runs(
    page: str, command: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(stdlib, "LIBRARY", stdlib.LIBRARY / "asyncio")
    _, program, *arguments = shlex.split(command.partition("<")[0])
    overrides = first_job(compose.continued(arguments) if program == "train.py" else arguments)
    if {"--help", "--cfg"} & set(arguments) or any(text.startswith(("hydra", "data=hf")) for text in overrides):
        return
    if program == "decode.py":
        monkeypatch.setattr(sys, "stdin", (place / "source.txt").open())
        decoding.decode(
            config.check(compose.composed("decode", [*overrides, "search.max_length=6"]), config.DecodeConfig)
        )
        return
    few = FEW_NUMBERS if not any(text.startswith(("data=", "experiment=")) for text in overrides) else []
    values = compose.composed(
        "train",
        [*overrides, *TINY, *OF_TEXT, *OF_PAIRS, *few, "model.tied=false", "trainer.steps=4", "trainer.epochs=1"],
    )
    training.run(values, tmp_path / "run", overrides)
    assert "decode" in capsys.readouterr().out


def test_the_python_of_a_notebook_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(place)
    _, decoding_lines, following_gradients = (ROOT / "docs" / "python.md").read_text().split("```python\n")
    exec(decoding_lines.partition("```")[0], {})
    assert len(capsys.readouterr().out.splitlines()) == 2
    exec(following_gradients.partition("```")[0], {})
    assert "decoder.stack.layers.0 h" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [part.partition(")")[0] for part in page.read_text().split("](")[1:]]
    assert all((page.parent / target).exists() for target in targets if not target.startswith("http"))
