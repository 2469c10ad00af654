"""The files that a user names, and their lines."""

import glob
import hashlib
import os
from pathlib import Path
from typing import Any

from throughtime import config


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable(setting: str, name: str) -> list[Path]:
    """The files that a path or glob names.

    Raises:
        Mistake: as `files_of`, or they are empty.
    """
    paths = files_of(setting, name)
    if not sum(path.stat().st_size for path in paths):
        raise config.wrong(setting, name, "a file that is not empty")
    return paths


def files_of(setting: str, name: str) -> list[Path]:
    """The files, empty ones too, that a path or glob names.

    Raises:
        Mistake: nothing there, a folder, an unreadable file.
    """
    name = os.path.expanduser(name)
    paths = [Path(found) for found in sorted(glob.glob(name, recursive=True))] or [Path(name)]
    for path in paths:
        if not path.is_file():
            raise config.wrong(setting, name, _instead(path))
        try:
            path.open("rb").close()
        except OSError as error:
            raise config.wrong(setting, name, f"a readable file ({error.strerror})") from error
    return paths


def _instead(path: Path) -> str:
    if not path.exists():
        return "a file that is there"
    return "a file, not a folder" if path.is_dir() else "a file, and this is a device or a pipe"


def one_file(setting: str, name: str) -> Path:
    """The file that a path names.

    Raises:
        Mistake: as `readable`, or there are several.
    """
    first, *others = readable(setting, name)
    if others:
        raise config.wrong(setting, name, f"one file, and this pattern names {len(others) + 1}")
    return first


def aligned(source_setting: str, source: str, target_setting: str, target: str) -> list[tuple[str, str]]:
    """The pairs of two files, line by line.

    Raises:
        Mistake: as `read_lines`, or one file is longer.
    """
    sources, targets = read_lines(source_setting, source), read_lines(target_setting, target)
    if len(sources) != len(targets):
        raise config.wrong(target_setting, target, f"a file of {len(sources)} lines like {source}, not {len(targets)}")
    return list(zip(sources, targets, strict=True))


def read_lines(setting: str, name: str) -> list[str]:
    """The lines of one UTF-8 file without their ends, which a carriage return alone is none of."""
    try:
        content = one_file(setting, name).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(setting, name, error) from error
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]


def not_utf8(setting: str, name: str, error: UnicodeDecodeError) -> config.Mistake:
    """The sentence for a file that is no UTF-8 text."""
    return config.wrong(setting, name, f"a UTF-8 text, and this one holds the byte 0x{error.object[error.start]:02x}")


def identity(data: config.TextFiles | config.PairFiles) -> dict[str, Any]:
    """What determines the corpus: the settings and every named file's content."""
    names = {key: value for key, value in config.plain(data).items() if key.endswith("path") and value is not None}
    contents = {key: [fingerprint(path) for path in readable(f"data.{key}", name)] for key, name in names.items()}
    return {**config.plain(data), "sha256": contents}
