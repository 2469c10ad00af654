"""How far a training is in its passes over the data, saved with a checkpoint and taken up again."""

from throughtime import config


class Position:
    """The `epoch`, and how many of its `count` batches are `done`."""

    def __init__(self, count: int):
        self.count, self.epoch, self.done = count, 0, 0

    def __len__(self) -> int:
        return self.count

    def begin(self) -> None:
        """Turns to the next epoch where this one is through."""
        if self.done == self.count:
            self.epoch, self.done = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """The position as plain data."""
        return {"epoch": self.epoch, "position": self.done, "count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on behind the batches that are done; a whole epoch may have been cut into other batches.

        Raises:
            Mistake: an epoch that is under way had another number of batches.
        """
        count = state.get("count", self.count)
        whole = state["position"] == count
        if count != self.count and not whole:
            raise config.Mistake(
                f"resume goes on within an epoch of {count} batches, of which {state['position']} are done: allowed are"
                f" batch, tbptt and trainer.devices as they were, and these make {self.count}."
            )
        self.epoch, self.done = state["epoch"], self.count if whole else state["position"]
