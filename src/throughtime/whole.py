"""Files that appear only when they are whole, so that a full disk or a kill leaves what was there before."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path to write at, of this process alone, whose file takes the place of `path` at the end, or is gone where
    an error came up.

    Raises:
        OSError: naming `path` where the error itself names no file, as that of a write on a full disk.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.writing")
    try:
        yield fresh
        os.replace(fresh, path)
    except OSError as error:
        if error.filename in (None, str(fresh)):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            fresh.unlink()


def copy_whole(source: Path, target: Path) -> None:
    """Copies a file, whole or not at all.

    Raises:
        OSError: as `whole_file`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as fresh:
        shutil.copyfile(source, fresh)
