"""Every command line in the README and the docs composes and passes the schema; every link leads somewhere."""

import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT
from throughtime import compose, config

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
def test_command_is_accepted(page: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, program, *arguments = shlex.split(command.partition("<")[0])
    if {"--help", "--cfg"} & set(arguments):
        return
    name = program.removesuffix(".py")
    compose.preflight(name, {"train": config.TrainConfig, "decode": config.DecodeConfig}[name], arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [part.partition(")")[0] for part in page.read_text().split("](")[1:]]
    assert all((page.parent / target).exists() for target in targets if not target.startswith("http"))
