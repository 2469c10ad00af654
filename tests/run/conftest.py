"""A translator and a language model that have hardly learned, shared by all tests of decoding."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import FEW_NUMBERS, OF_TEXT, STORY, TINY

from throughtime import compose, config
from throughtime.run import decoding, training
from throughtime.run.decode.output import ResumableFile


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pairs of byte strings."""
    folder = tmp_path_factory.mktemp("translator")
    overrides = [*TINY, *FEW_NUMBERS, "tokenizer=byte", "cell=gru", f"outputs={folder}/outputs"]
    training.run(compose.composed("train", overrides), folder / "run", overrides)
    return folder / "run"


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the characters of a story."""
    folder = tmp_path_factory.mktemp("language_model")
    (folder / "story.txt").write_text(STORY)
    overrides = [
        *TINY,
        *OF_TEXT,
        "data=text",
        f"data.path={folder}/story.txt",
        "tokenizer=char",
        f"outputs={folder}/outputs",
    ]
    training.run(compose.composed("train", overrides), folder / "run", overrides)
    return folder / "run"


def job(*overrides: str) -> None:
    """A decoding job in this process."""
    values = compose.composed("decode", ["search.max_length=8", "precision=float32", *overrides])
    decoding.decode(config.check(values, config.DecodeConfig))


def interrupted(*overrides: str) -> None:
    """A job that is stopped while it writes its third block of four lines."""
    add = ResumableFile.add

    def adding(file: ResumableFile, block: list, written: str) -> None:
        if block[0].place > 8:
            raise KeyboardInterrupt
        add(file, block, written)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ResumableFile, "add", adding)
        with pytest.raises(KeyboardInterrupt):
            job(*overrides)


@pytest.fixture
def decoded(tmp_path: Path) -> Callable[..., bytes]:
    """What a job writes for some bytes."""

    def run(checkpoint: Path, content: bytes, *overrides: str, name: str = "out.txt") -> bytes:
        (tmp_path / "in.txt").write_bytes(content)
        job(f"checkpoint={checkpoint}", f"input={tmp_path}/in.txt", f"output={tmp_path}/{name}", *overrides)
        return (tmp_path / name).read_bytes()

    return run
