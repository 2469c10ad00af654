"""A training ends when its metric no longer gets better."""

from typing import Any

from lightning.pytorch.callbacks import EarlyStopping


class Patience(EarlyStopping):
    """Lightning's early stopping, asked behind each validation, and by the patience of now where a run is resumed."""

    def __init__(self, monitor: str, patience: int, mode: str):
        super().__init__(monitor, patience=patience, mode=mode, check_on_train_epoch_end=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})
