"""Where a job runs, and in which precision."""

from typing import Literal

import torch

from throughtime import config
from throughtime.nn.precision import why_not


def device(accelerator: str) -> torch.device:
    """The device of `accelerator=`, for a single process."""
    refuse_absent(accelerator, 1, "accelerator")
    chosen = _found(accelerator)
    return torch.device("cuda" if chosen == "gpu" else chosen)


def _found(accelerator: str) -> str:
    """The accelerator, with what `auto` means on this machine."""
    there = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return next(name for name in there if there[name]) if accelerator == "auto" else accelerator


def refuse_absent(accelerator: str, devices: int, setting: str) -> None:
    """Refuses an accelerator, or more of its devices, than this machine has."""
    there = {"gpu": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    accelerator = _found(accelerator)
    if accelerator in there and not there[accelerator]:
        raise config.wrong(setting, accelerator, "auto or cpu on this machine, which has no such device")
    if accelerator in there and devices > there[accelerator]:
        raise config.wrong(
            setting.replace("accelerator", "devices"),
            devices,
            f"at most the {there[accelerator]} of this machine",
        )


def precision(choice: config.Trainer) -> Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]:
    """The precision of training; `auto` is bf16 where the device has such products.

    Raises:
        Mistake: the device has no products of the precision.
    """
    found = device(choice.accelerator)
    reasons = {
        "auto": None,
        "32-true": None,
        "bf16-mixed": why_not("bf16", found),
        "16-mixed": "it needs a GPU" if found.type == "cpu" else None,
        "64-true": "a Mac's GPU has no such numbers" if found.type == "mps" else None,
    }
    if reason := reasons[choice.precision]:
        allowed = config.alternatives([name for name, against in reasons.items() if against is None])
        raise config.wrong("trainer.precision", choice.precision, f"{allowed} here, as {reason}")
    if choice.precision == "auto":
        return "32-true" if reasons["bf16-mixed"] else "bf16-mixed"
    return choice.precision
