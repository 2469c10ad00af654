"""What a search needs to know of a model: how to start and how to take one step for many rows at once."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from throughtime.data.batch import pad
from throughtime.data.tokenizer import BOS, EOS, PAD
from throughtime.nn.models import EncoderDecoder, LanguageModel
from throughtime.nn.state import State, select_rows

Batch = Sequence[Sequence[int]]  # token ids without special ids: sources, or prompts


class Stepper(Protocol):
    """Rows of hypotheses, each with the state behind its last token."""

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        """The first input token of each row, (rows,), and the state in front of it."""

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """(rows,) -> log-probabilities of the next token (rows, vocabulary) and the next state."""

    def reorder(self, state: State, rows: Tensor) -> State:
        """The state of the given rows, in that order."""


class _ModelStepper:
    """What both models share: states are trees of rows, pad and bos are never produced."""

    def reorder(self, state: State, rows: Tensor) -> State:
        return select_rows(state, rows)

    @staticmethod
    def _log_probabilities(logits: Tensor) -> Tensor:
        found = torch.log_softmax(logits[:, -1].float(), dim=-1)
        found[:, [PAD, BOS]] = -torch.inf
        return found


class LanguageModelStepper(_ModelStepper):
    """Continues prompts; a prompt stands behind bos, and may be empty."""

    def __init__(self, model: LanguageModel):
        self._model, self._device = model, next(model.parameters()).device

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        read = [[BOS, *prompt] for prompt in batch]
        lengths = torch.tensor([len(tokens) - 1 for tokens in read], device=self._device)
        last = torch.tensor([tokens[-1] for tokens in read], device=self._device)
        return last, self._model.read(pad(read).to(self._device), lengths)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = self._model(tokens[:, None], state)
        return self._log_probabilities(logits), state


class EncoderDecoderStepper(_ModelStepper):
    """Decodes sources; a source is read with eos behind it."""

    def __init__(self, model: EncoderDecoder):
        self._model, self._device = model, next(model.parameters()).device

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        sources = [[*source, EOS] for source in batch]
        lengths = torch.tensor([len(source) for source in sources], device=self._device)
        return torch.full_like(lengths, BOS), self._model.start(pad(sources).to(self._device), lengths)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = self._model.step(tokens[:, None], state)
        return self._log_probabilities(logits), state


def stepper_of(model: Any) -> Stepper:
    """The stepper that fits the model."""
    return LanguageModelStepper(model) if isinstance(model, LanguageModel) else EncoderDecoderStepper(model)
