"""`shortlist=` searches among the words that its texts teach."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.run.conftest import interrupted, job

from throughtime.config import Mistake

LINES = b"seven\nsix six\n" * 8


@pytest.fixture
def texts(tmp_path: Path) -> list[str]:
    """Pairs that teach few letters, as settings."""
    (tmp_path / "texts.en").write_text("seven\nsix\n" * 3)
    (tmp_path / "texts.fr").write_text("sept\nsix\n" * 3)
    return [f"shortlist.source={tmp_path}/texts.en", f"shortlist.target={tmp_path}/texts.fr"]


def test_no_other_letters_are_written(
    texts: list[str], translator: Path, decoded: Callable[..., bytes], tmp_path: Path
) -> None:
    few = [*texts, f"outputs={tmp_path}/outputs", "shortlist.frequent=0"]
    whole = decoded(translator, LINES)
    assert set(whole) - set(b"septix\n")  # the model has hardly learned, and writes any byte
    found = decoded(translator, LINES, *few)
    assert set(found) <= set(b"septix\n")
    exact = [decoded(translator, LINES, *few, f"shortlist.best={best}", name="out.jsonl") for best in (20, 1)]
    assert exact[0] != exact[1]
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "outputs" / "cache").iterdir()}
    assert len(kept) == 2
    assert decoded(translator, LINES, *few) == found
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    for path in kept:
        path.write_bytes(path.read_bytes()[:200])  # cut off by a full disk, say
    assert decoded(translator, LINES, *few) == found


def test_a_resumed_job_must_have_learned_from_the_same(texts: list[str], translator: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(LINES)
    common = [f"checkpoint={translator}", f"input={tmp_path}/in.txt", f"output={tmp_path}/out.txt", "read_ahead=4"]
    interrupted(*common, *texts, f"outputs={tmp_path}/outputs")
    (tmp_path / "texts.fr").write_text("sept\nonze\n" * 3)
    with pytest.raises(Mistake, match="resume"):
        job(*common, *texts, f"outputs={tmp_path}/outputs", "resume=true")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["shortlist.source=no.en"],
            "shortlist.target=null: allowed is a text where shortlist.source is one, else null.",
        ),
        (
            ["shortlist.source=no.en", "shortlist.target=no.fr"],
            "shortlist.source=no.en: allowed is a file that is there",
        ),
        (["mode=score", "{}"], "shortlist.source="),
    ],
)
def test_mistakes_are_told(settings: list[str], sentence: str, texts: list[str], translator: Path) -> None:
    given = [part for setting in settings for part in (texts if setting == "{}" else [setting])]
    with pytest.raises(Mistake) as told:
        job(f"checkpoint={translator}", *given)
    assert str(told.value).startswith(sentence)


def test_a_language_model_has_no_source(texts: list[str], language_model: Path, decoded: Callable[..., bytes]) -> None:
    with pytest.raises(Mistake, match=r"shortlist.source=.*: allowed is null with a language model like"):
        decoded(language_model, LINES, *texts)


def test_texts_must_be_as_long_as_one_another(
    texts: list[str], translator: Path, decoded: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "texts.fr").write_text("sept\n")
    with pytest.raises(Mistake, match=r"shortlist.target=.*: allowed is a file of 6 lines like"):
        decoded(translator, LINES, *texts, f"outputs={tmp_path}/outputs")
