"""Checkpoints: plain data only, written whole or not at all, read with `weights_only=True`.

Besides what Lightning saves, a checkpoint holds under `throughtime`:
`format` and `version`, `config` (all settings, resolved), `tokenizers` (their states), `facts` (of the corpus), `ranks`
(carried state, random state and tokens seen of each process).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import throughtime
from throughtime import config
from throughtime.data.tokenizer import Tokenizer

FORMAT = 1


def about(settings: config.TrainConfig, tokenizers: dict[str, Tokenizer], facts: dict[str, Any]) -> dict[str, Any]:
    """What makes a checkpoint self-contained."""
    return {
        "format": FORMAT,
        "version": throughtime.__version__,
        "config": config.plain(settings),
        "tokenizers": {side: tokenizer.state() for side, tokenizer in tokenizers.items()},
        "facts": facts,
    }


def read(path: Path, setting: str, mmap: bool = False) -> dict[str, Any]:
    """A checkpoint's content; with `mmap` its tensors stay in the file until they are used.

    Raises:
        Mistake: unreadable, truncated, not one of this project's, or of another format.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises a different kind for each way a file can be broken
        raise config.wrong(setting, path, "a whole checkpoint of throughtime, and this file does not load") from error
    ours = content.get("throughtime") if isinstance(content, dict) else None
    if not isinstance(ours, dict) or "state_dict" not in content:
        raise config.wrong(setting, path, "a checkpoint that throughtime wrote, and this one is of another kind")
    if ours.get("format") != FORMAT:
        raise config.wrong(
            setting, path, f"a checkpoint of format {FORMAT}, and this one has format {ours.get('format')}"
        )
    try:
        ours["config"] = config.plain(config.check(ours["config"], config.TrainConfig))  # with the defaults of now
    except config.Mistake as error:
        raise config.wrong(setting, path, f"a checkpoint whose settings are still known, and {error}") from error
    return content


def settings(path: Path, setting: str) -> config.TrainConfig:
    """Those of the run that wrote a checkpoint, read without its weights.

    Raises:
        Mistake: as `read`.
    """
    return config.check(read(path, setting, mmap=True)["throughtime"]["config"], config.TrainConfig)


def weights(content: dict[str, Any]) -> dict[str, Tensor]:
    """The model's weights, by their names in the model."""
    named = content["state_dict"].items()
    return {name.removeprefix("model."): weight for name, weight in named if name.startswith("model.")}
