"""Checkpoints: plain data only, written whole or not at all, read with `weights_only=True`.

Beside what Lightning saves, a checkpoint holds under `throughtime`:
`format` and `version`, `config` (all settings, resolved), `tokenizers` (their states), `facts` (of the corpus), `ranks`
(carried state, random state and tokens seen of each process).
"""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

import throughtime
from throughtime import config
from throughtime.data.prepare import Prepared
from throughtime.whole import whole_file

FORMAT = 1


def about(settings: config.TrainConfig, prepared: Prepared) -> dict[str, Any]:
    """What makes a checkpoint stand on its own."""
    tokenizers = {side: tokenizer.state() for side, tokenizer in prepared.tokenizers.items()}
    return {
        "format": FORMAT,
        "version": throughtime.__version__,
        "config": config.plain(settings),
        "tokenizers": tokenizers,
        "facts": prepared.facts,
    }


class WholeFiles(TorchCheckpointIO):
    """Writes beside the old file and then takes its place, so that a full disk or a kill loses nothing."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)  # into a file it would hide why the disk refused it
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(Path(path)) as fresh:
            fresh.write_bytes(content.getbuffer())


def find(name: str, outputs: str, setting: str, prefer: str = "best") -> Path:
    """The checkpoint that a user means: a file, a run folder (its `prefer`red checkpoint), or `last` for the newest run.

    Raises:
        Mistake: there is none.
    """
    path = Path(name)
    if name == "last":
        path = max(Path(outputs).glob("**/checkpoints"), key=_age, default=path)
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    for candidate in (folder, folder / f"{prefer}.ckpt", folder / "best.ckpt", folder / "last.ckpt"):
        if candidate.is_file():
            return candidate
    if name == "last":
        raise config.wrong(setting, name, f"last only where a run under {outputs} has saved a checkpoint")
    raise config.wrong(setting, name, "a checkpoint file, a run folder with checkpoints in it, or last")


def _age(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.glob("*.ckpt")), default=0.0)


def read(path: Path, setting: str) -> dict[str, Any]:
    """A checkpoint's content.

    Raises:
        Mistake: unreadable, truncated, not one of this project's, or of another format.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different kind for each way a file can be broken
        raise config.wrong(setting, path, "a whole checkpoint of throughtime, and this file does not load") from error
    ours = content.get("throughtime") if isinstance(content, dict) else None
    if not isinstance(ours, dict) or "state_dict" not in content:
        raise config.wrong(setting, path, "a checkpoint that throughtime wrote, and this one is of another kind")
    if ours.get("format") != FORMAT:
        raise config.wrong(
            setting, path, f"a checkpoint of format {FORMAT}, and this one has format {ours.get('format')}"
        )
    return content
