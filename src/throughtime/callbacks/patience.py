"""A training ends when its metric no longer improves."""

from typing import Any

from lightning.pytorch.callbacks import EarlyStopping


class Patience(EarlyStopping):
    """Lightning's early stopping, checked after each validation, with the current patience if a run is resumed."""

    def __init__(self, monitor: str, patience: int, mode: str):
        super().__init__(monitor, patience=patience, mode=mode, check_on_train_epoch_end=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})
