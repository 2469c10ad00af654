"""Shows at each validation where the model looks in the source at each word of the reference."""

from functools import cached_property
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.trainer.states import TrainerFn

from throughtime import attention_grid, config
from throughtime.callbacks.tracking import Tracker
from throughtime.data.pairs import open_pairs
from throughtime.data.prepare import Prepared
from throughtime.data.splits import EVALUATED
from throughtime.data.tokenizer import EOS
from throughtime.search import Forced, force, stepper_of
from throughtime.whole import whole_file

LONGEST = 50  # tokens of a side that a picture has room for


class Alignment(lightning.Callback):
    """Writes `alignments/step-NNNNNNNN.html` and logs it as `alignment`: for the first validation pairs that are short
    enough, the attention of the model while it is fed the reference, so that the pictures of all validations are of the
    same words. Models without attention have none."""

    def __init__(self, settings: config.TrainConfig, prepared: Prepared, tracker: Tracker, folder: Path):
        self._count = settings.decoding.alignments if config.has_attention(settings) else 0
        self._prepared, self._tracker, self._folder = prepared, tracker, folder

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero and trainer.state.fn == TrainerFn.FITTING and self._pairs:
            targets = [[*pair["target_ids"], EOS] for pair in self._pairs]
            looked = force(stepper_of(pl_module.model), [pair["source_ids"] for pair in self._pairs], targets)
            self._write([self._picture(*found) for found in zip(self._pairs, looked, strict=True)], trainer)

    @cached_property
    def _pairs(self) -> list[Any]:
        if not self._count:
            return []
        pairs = open_pairs(self._prepared.folder / EVALUATED["val"])
        lengths = zip(pairs["source_length"][:], pairs["target_length"][:], strict=True)
        short = (place for place, sides in enumerate(lengths) if max(sides) <= LONGEST)
        return [pairs[place] for place in islice(short, self._count)]

    def _picture(self, pair: dict[str, Any], looked: Forced) -> str:
        read, written = (
            [*(self._prepared.tokenizers[side].decode([token]) for token in pair[f"{side}_ids"]), attention_grid.END]
            for side in ("source", "target")
        )
        title = f"<p>{escape(pair['source'])}<br>{escape(pair['target'])}</p>\n"
        return title + attention_grid.svg(read, written, looked.attention or [])

    def _write(self, pictures: list[str], trainer: lightning.Trainer) -> None:
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"step-{trainer.global_step:08d}.html"
        with whole_file(path) as fresh:
            fresh.write_text('<meta charset="utf-8">\n' + "\n".join(pictures), encoding="utf-8")
        self._tracker.page("alignment", path, trainer.global_step)
