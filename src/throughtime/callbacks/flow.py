"""Shows at each validation how far back the gradient reaches."""

from itertools import zip_longest
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.trainer.states import TrainerFn

from throughtime import config
from throughtime.callbacks.tracking import Tracker
from throughtime.train.flow import Flow, append, gradient_flow, reach, read
from throughtime.train.flow_picture import draw

SHOWN = 6  # validations in the picture


class GradientFlow(lightning.Callback):
    """Follows the gradient back through rows from the middle of the validation data (pairs of median length), with the
    optimiser's own weights, not their mean (`train/flow.py`). It writes a line for each layer and state to
    `gradient_flow.jsonl`, the table `gradient_flow`, `gradients/reach/<layer>` in steps, and a picture of the
    development, `gradient_flow.png`."""

    def __init__(self, choice: config.Flow, tracker: Tracker, folder: Path):
        self._choice, self._tracker, self._folder = choice, tracker, folder
        self._batch: Any = None
        self._followed: dict[int, list[Flow]] = {}  # by the step of the validation

    @property
    def flows(self) -> list[Flow]:
        """The flows of the last validation."""
        return next(reversed(self._followed.values()), [])

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if self._follows(trainer):
            self._followed = read(self._folder / "gradient_flow.jsonl")  # of the run that this one resumes
            if self._followed:
                self._draw(max(self._followed))

    def on_validation_batch_start(
        self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._follows(trainer) and batch_idx == int(trainer.num_val_batches[0]) // 2:
            self._batch = batch

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if not self._follows(trainer):
            return
        with torch.enable_grad():
            found = gradient_flow(pl_module.model, self._batch, self._choice.rows, self._choice.steps)
        self._batch, self._followed[trainer.global_step] = None, found
        self._record(trainer)
        self._draw(trainer.global_step)

    def _follows(self, trainer: lightning.Trainer) -> bool:
        return bool(self._choice.rows) and trainer.is_global_zero and trainer.state.fn == TrainerFn.FITTING

    def _record(self, trainer: lightning.Trainer) -> None:
        at = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        append(self._folder / "gradient_flow.jsonl", at, self.flows)
        reached = {f"gradients/reach/{layer}": float(steps) for layer, steps in reach(self.flows).items()}
        for logger in trainer.loggers:  # Lightning's step of a validation is that of the batch before, from 0
            logger.log_metrics({**reached, "epoch": trainer.current_epoch}, step=trainer.global_step - 1)
        names, curves = [f"{flow.layer} {flow.state}" for flow in self.flows], (flow.norms for flow in self.flows)
        rows = [
            {"steps back": back, **dict(zip(names, norms, strict=True))}
            for back, norms in enumerate(zip_longest(*curves))
        ]
        self._tracker.table("gradient_flow", rows, trainer.global_step)

    def _draw(self, step: int) -> None:
        """Draws the last validation and some earlier ones, evenly spread."""
        steps, picture = list(self._followed), self._folder / "gradient_flow.png"
        shown = sorted({steps[-1 - place * len(steps) // SHOWN] for place in range(SHOWN)})
        draw(picture, {f"step {at:,}": self._followed[at] for at in shown})
        self._tracker.picture("gradient_flow_over_time", picture, step)
