"""Gradient clipping, and how to judge it: the norms before it, in total and per module, and how often it acts."""

from collections import defaultdict
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from throughtime import config


class Clipping(lightning.Callback):
    """Clips every step's gradients by their total norm, or each number by a value; instead of Lightning's clipping,
    which would compute the norm a second time.

    Every `every` optimiser steps it logs the L2 norms of this step's gradients before clipping as `gradients/total` and
    `gradients/<module>`, as `gradients/clipped` the share of the steps since the last record that clipping changed, and as
    `train/lr` the learning rate that the schedule has set.
    """

    def __init__(self, clip: config.Clip, every: int):
        self._clip, self._every = clip, every
        self._clipped: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        return {"clipped": [bool(clipped) for clipped in self._clipped]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._clipped = [torch.tensor(clipped) for clipped in state_dict["clipped"]]

    def on_before_optimizer_step(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        weights = {name: weight for name, weight in pl_module.named_parameters() if weight.grad is not None}
        gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
        total = nn.utils.get_total_norm(gradients.values())
        self._clipped.append(self._is_clipped(total, gradients))
        if (trainer.global_step + 1) % self._every == 0:
            self._log(trainer, total, gradients, optimizer.param_groups[0]["lr"])
        if self._clip.norm is not None:
            nn.utils.clip_grads_with_norm_(weights.values(), self._clip.norm, total)
        elif self._clip.value is not None:
            nn.utils.clip_grad_value_(weights.values(), self._clip.value)

    def _log(self, trainer: lightning.Trainer, total: Tensor, gradients: dict[str, Tensor], rate: float) -> None:
        clipped = torch.stack([flag.to(total.device) for flag in self._clipped]).float().mean()
        self._clipped.clear()
        norms = {f"gradients/{module}": norm for module, norm in module_norms(gradients).items()}
        record = {"gradients/total": total, "gradients/clipped": clipped, **norms}
        values = dict(zip(record, torch.stack(list(record.values())).tolist(), strict=True))
        for logger in trainer.loggers:
            logger.log_metrics({**values, "train/lr": rate}, step=trainer.global_step)

    def _is_clipped(self, total: Tensor, gradients: dict[str, Tensor]) -> Tensor:
        if self._clip.norm is not None:
            return total > self._clip.norm
        if self._clip.value is not None:
            return torch.stack([gradient.abs().max() for gradient in gradients.values()]).max() > self._clip.value
        return torch.zeros_like(total, dtype=torch.bool)


def module_norms(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """The norm over each module's own weights; the cells of a layer count as that layer."""
    by_module: defaultdict[str, list[Tensor]] = defaultdict(list)
    for name, gradient in gradients.items():
        by_module[name.removeprefix("model.").rpartition(".")[0].partition(".cells")[0]].append(gradient)
    return {module: nn.utils.get_total_norm(parts) for module, parts in by_module.items()}
