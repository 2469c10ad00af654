"""Checkpoints: plain data only, written whole or not at all, read with `weights_only=True`.

Beside what Lightning saves, a checkpoint holds under `throughtime`:
`format` and `version`, `config` (all settings, resolved), `tokenizers` (their states), `facts` (of the corpus), `ranks`
(carried state, random state and tokens seen of each process).
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import throughtime
from throughtime import config
from throughtime.data.tokenizer import Tokenizer

FORMAT = 1


def about(settings: config.TrainConfig, tokenizers: dict[str, Tokenizer], facts: dict[str, Any]) -> dict[str, Any]:
    """What makes a checkpoint stand on its own."""
    return {
        "format": FORMAT,
        "version": throughtime.__version__,
        "config": config.plain(settings),
        "tokenizers": {side: tokenizer.state() for side, tokenizer in tokenizers.items()},
        "facts": facts,
    }


def find(name: str, outputs: str, setting: str, prefer: str = "best") -> Path:
    """The checkpoint that a user means: a file, a run folder (its `prefer`red checkpoint), or `last` for the newest run.

    Raises:
        Mistake: there is none.
    """
    path = Path(name).expanduser()
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


def find_all(name: str, outputs: str, setting: str) -> list[Path]:
    """The checkpoints that a user means: all in a folder or matching a pattern, else the one of `find`.

    Raises:
        Mistake: there is none.
    """
    name = os.path.expanduser(name)
    if inside := sorted(Path(found) for found in glob.glob(f"{name}/*.ckpt")):
        return inside
    matching = sorted(Path(found) for found in glob.glob(name))
    return matching if len(matching) > 1 else [find(name, outputs, setting)]


def average(contents: Sequence[dict[str, Any]], setting: str) -> dict[str, Any]:
    """The last of some checkpoints of one run, with the mean of all their weights (Junczys-Dowmunt et al. 2016).

    Raises:
        Mistake: they are not of one run.
    """
    *others, last = contents
    if any(_origin(other) != _origin(last) for other in others):
        raise config.wrong(setting, f"{len(contents)} checkpoints", "such of one run and model, to be averaged")
    weights = [content["state_dict"] for content in contents]
    return {**last, "state_dict": {name: _mean([state[name] for state in weights]) for name in last["state_dict"]}}


def _origin(content: dict[str, Any]) -> dict[str, Any]:
    """What checkpoints that may be averaged share: weights are comparable only along one training."""
    ours = content["throughtime"]
    shared = {
        group: ours["config"][group] for group in ("seed", "data", "tokenizer", "model", "cell", "encoder", "context")
    }
    shapes = {name: weight.shape for name, weight in content["state_dict"].items()}
    return {**shared, "tokenizers": ours["tokenizers"], "shapes": shapes}


def _mean(weights: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(weights)).double().mean(dim=0).to(weights[0].dtype)


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
