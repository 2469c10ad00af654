"""The batches of one optimiser step: its gradient is the mean over all their tokens, however these are distributed."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


class Accumulation:
    """What has accumulated since the last step, of the `batches` that make one.

    Meanwhile the gradients are sums over tokens; `average` turns them into means before the step. `lengths`: the time
    steps of each batch.
    """

    def __init__(self, batches: int):
        self._batches = batches
        self._tokens: Tensor | int = 0
        self.lengths: list[int] = []

    def add(self, loss: Tensor, tokens: Tensor, length: int) -> Tensor:
        """A batch's mean loss over the `tokens` of all ranks -> the loss to differentiate, which Lightning divides by
        the number of batches."""
        self.lengths.append(length)
        if self._batches == 1:
            return loss
        self._tokens = self._tokens + tokens
        return loss * tokens * self._batches

    def average(self, weights: Iterable[nn.Parameter]) -> None:
        """Sums -> means, once the last batch's gradient has been added."""
        if self._batches > 1:
            for weight in weights:
                if weight.grad is not None:
                    weight.grad /= self._tokens

    def clear(self) -> None:
        """Starts afresh after the step."""
        self._tokens, self.lengths = 0, []

    def state(self, weights: Iterable[nn.Parameter]) -> dict[str, Any] | None:
        """What a checkpoint between two batches of one step needs; None after a step."""
        if not self.lengths:
            return None
        gradients = [weight.grad for weight in weights]
        return {"tokens": int(self._tokens), "lengths": self.lengths, "gradients": gradients}

    def restore(self, state: dict[str, Any] | None, weights: Iterable[nn.Parameter]) -> None:
        """Continues from such a state."""
        if state is not None:
            self._tokens, self.lengths = state["tokens"], list(state["lengths"])
            for weight, gradient in zip(weights, state["gradients"], strict=True):
                weight.grad = None if gradient is None else gradient.to(weight.device, copy=True)
