"""The checkpoints that a user means."""

import glob
import json
import os
from pathlib import Path

from throughtime import config


def find(name: str, outputs: str, setting: str, prefer: str = "best") -> Path:
    """The checkpoint that a user means by a file, a run folder (its `prefer`red checkpoint), a sweep's folder (that of
    its best job), or `last` (that of the newest run).

    Raises:
        Mistake: there is none.
    """
    path = Path(name).expanduser()
    if name == "last":
        path = max(Path(outputs).glob("**/checkpoints"), key=_age, default=path)
    if (path / "sweep.json").is_file():
        best, *_ = json.loads((path / "sweep.json").read_text())["jobs"] or [{"job": ""}]
        path /= best["job"]
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    for candidate in (folder, folder / f"{prefer}.ckpt", folder / "best.ckpt", folder / "last.ckpt"):
        if candidate.is_file():
            return candidate
    if name == "last":
        raise config.wrong(setting, name, f"last only where a run under {outputs} has saved a checkpoint")
    raise config.wrong(
        setting, name, "a checkpoint file, the folder of a run or a sweep with checkpoints in it, or last"
    )


def run_of(file: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint, if that is still around it; a kept one is a folder deeper."""
    return next((folder for folder in file.parents[1:3] if (folder / "summary.json").exists()), None)


def _age(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.glob("*.ckpt")), default=0.0)


def find_all(name: str, outputs: str, setting: str) -> list[Path]:
    """The checkpoints that a user means: all in a folder, or one for each match of a pattern, else the one of `find`.

    Raises:
        Mistake: there is none.
    """
    name = os.path.expanduser(name)
    if inside := sorted(Path(found) for found in glob.glob(f"{name}/*.ckpt")):
        return inside
    matching = sorted(glob.glob(name))
    return [find(one, outputs, setting) for one in (matching if len(matching) > 1 else [name])]
