"""The optimiser of `optim=` and the schedule of `schedule=`."""

import math
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from throughtime import config


def optimizer(choice: config.Optim, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """torch's own optimiser with the chosen settings."""
    if isinstance(choice, config.Sgd):
        return torch.optim.SGD(parameters, choice.lr, choice.momentum, weight_decay=choice.weight_decay)
    kind = torch.optim.AdamW if choice.name == "adamw" else torch.optim.Adam
    return kind(parameters, choice.lr, (choice.betas[0], choice.betas[1]), weight_decay=choice.weight_decay)


def renew(checkpoint: dict[str, Any], settings: config.TrainConfig) -> None:
    """Replaces the settings that the checkpoint's optimiser and schedule were saved with by those of the resumed run;
    how far the schedule has lowered the rate is kept. A run with another kind of averaging continues from the
    optimiser's own weights, and its mean starts afresh."""
    optim, plan = settings.optim, settings.schedule
    own = {"betas": tuple(optim.betas)} if isinstance(optim, config.Adam) else {"momentum": optim.momentum}
    share = optim.lr / checkpoint["throughtime"]["config"]["optim"]["lr"]
    for state in checkpoint["optimizer_states"]:
        for group in state["param_groups"]:
            group |= {**own, "weight_decay": optim.weight_decay, "lr": share * group["lr"]}
            group |= {"initial_lr": optim.lr} if "initial_lr" in group else {}
    for state in checkpoint["lr_schedulers"]:
        state["_last_lr"] = [share * rate for rate in state["_last_lr"]]
        if isinstance(plan, config.Plateau):
            state |= {"factor": plan.factor, "patience": plan.patience}
        else:
            state["base_lrs"] = [optim.lr for _ in state["base_lrs"]]
    before = checkpoint["throughtime"]["config"]["averaging"]["name"]
    if before != settings.averaging.name and checkpoint.pop("averaging_state", None) is not None:
        checkpoint["state_dict"] = checkpoint.pop("current_model_state")


def schedule(choice: config.Schedule, optimizer: torch.optim.Optimizer, steps: int) -> dict[str, Any] | None:
    """Lightning's description of the schedule over a run of `steps`; None for a constant rate."""
    match choice:
        case config.Constant():
            return None
        case config.Cosine():
            rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine(step, steps, choice))
            return {"scheduler": rate, "interval": "step"}
        case config.Decay():
            rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: decay(epoch, choice))
            return {"scheduler": rate, "interval": "epoch"}
        case config.Plateau():
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=choice.factor, patience=choice.patience, threshold=0.0
            )
            return {"scheduler": plateau, "monitor": "val/loss", "frequency": sys.maxsize}  # stepped after validations


def cosine(step: int, steps: int, choice: config.Cosine) -> float:
    """The share of the peak rate: linear to 1 during the warm-up, then half a cosine down to the floor (Loshchilov and
    Hutter 2017)."""
    if step < choice.warmup:
        return (step + 1) / (choice.warmup + 1)
    done = min(1.0, (step - choice.warmup) / max(1, steps - choice.warmup))
    return choice.floor + (1 - choice.floor) * 0.5 * (1 + math.cos(math.pi * done))


def decay(epoch: int, choice: config.Decay) -> float:
    """The share of the initial rate in an epoch, counted from 0 (Zaremba et al. 2014, section 4.1)."""
    share: float = choice.factor ** max(0, epoch + 1 - choice.hold)
    return share
