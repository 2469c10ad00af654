"""`combine=average` decodes as a model whose weights are the mean does."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import FEW_NUMBERS

from throughtime import compose, config
from throughtime.run import decoding


def decoded(folder: Path, checkpoint: str, *overrides: str) -> str:
    (folder / "in.txt").write_text("forty-two\none hundred and seven\n")
    files = [f"checkpoint={checkpoint}", f"input={folder}/in.txt", f"output={folder}/out.jsonl", "search.max_length=8"]
    decoding.decode(config.check(compose.composed("decode", [*files, *overrides]), config.DecodeConfig))
    return (folder / "out.jsonl").read_text()


@pytest.fixture
def checkpoints(train: Callable[..., Path]) -> Path:
    often = ["trainer.validate_every=1", "optim.lr=0.05", "trainer.keep.last=3"]
    return train(*FEW_NUMBERS, *often) / "checkpoints" / "last"


def test_the_mean_decodes_like_a_checkpoint_that_holds_it(checkpoints: Path, tmp_path: Path) -> None:
    paths = sorted(checkpoints.glob("*.ckpt"))
    contents = [torch.load(path, weights_only=True) for path in paths]
    states = [content["state_dict"] for content in contents]
    mean = {name: sum(state[name] for state in states) / 3 for name in states[0]}
    torch.save({**contents[0], "state_dict": mean}, tmp_path / "mean.ckpt")
    by_hand = decoded(tmp_path, str(tmp_path / "mean.ckpt"))
    assert decoded(tmp_path, str(checkpoints), "combine=average") == by_hand
    assert decoded(tmp_path, f"[{paths[0]},{paths[1]},{paths[2]}]", "combine=average") == by_hand
    assert decoded(tmp_path, str(paths[-1])) != by_hand


def test_a_folder_of_one_checkpoint_is_that_one(checkpoints: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    copied = shutil.copy(min(checkpoints.glob("*.ckpt")), tmp_path / "alone")
    assert decoded(tmp_path, f"{tmp_path}/alone") == decoded(tmp_path, str(copied))


def test_several_checkpoints_need_a_word_on_what_to_do(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(
        config.Mistake, match="combine=null: allowed is average, ensemble or loglinear with the 3 files of checkpoint="
    ):
        decoded(tmp_path, str(checkpoints))
