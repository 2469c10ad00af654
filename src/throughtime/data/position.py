"""How far a training is in its passes over the data, saved with a checkpoint and restored from it."""

from typing import Any

from throughtime import config


class Position:
    """The `epoch`, and how many of its `count` batches are `done`; `settings`: by name, those that cut it."""

    def __init__(self, count: int, settings: dict[str, Any]):
        self.count, self.epoch, self.done, self._settings = count, 0, 0, settings

    def __len__(self) -> int:
        return self.count

    @property
    def through(self) -> bool:
        """Whether all batches of the epoch are done."""
        return self.done == self.count

    def begin(self) -> None:
        """Turns to the next epoch where this one is through."""
        if self.through:
            self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """The position as plain data."""
        return {"epoch": self.epoch, "position": self.done, "count": self.count, "settings": self._settings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues after the batches that are done; a whole epoch may have been cut into other batches.

        Raises:
            Mistake: an epoch that is under way was cut by other settings.
        """
        whole = state["position"] == state["count"]
        now = self._settings
        before = now if whole else state.get("settings", now)  # earlier checkpoints do not tell
        for name in [*now, *before]:
            if now.get(name) != before.get(name):
                allowed = f"{before.get(name)} until the end of the epoch that resume= continues"
                raise config.wrong(name.removesuffix(".name"), now.get(name), allowed)
        self.epoch, self.done = state["epoch"], self.count if whole else state["position"]
