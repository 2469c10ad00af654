"""What a search needs to know of a model: how to start and how to take one step for many hypotheses at once."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from throughtime.data.batch import pad
from throughtime.data.tokenizer import BOS, EOS, PAD
from throughtime.nn.copies import evaluating
from throughtime.nn.models import EncoderDecoder, LanguageModel, PrefixModel
from throughtime.nn.precision import Precision, product, why_not
from throughtime.nn.ready import ready
from throughtime.nn.state import State, map_state, select_rows

Batch = Sequence[Sequence[int]]  # token ids without special ids: sources, or prompts


class Scores(NamedTuple):
    """Scores of the next token: `log_probabilities` (sentences, width, vocabulary), none above 0, and `attention`
    (sentences, width, source time), where the step looked, 1 at padding, or None."""

    log_probabilities: Tensor
    attention: Tensor | None = None


class Stepper(Protocol):
    """Sentences, each with `width` hypotheses side by side, and the state after the last token of each."""

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        """The first input token of each sentence, (sentences,), and the state before it; the width is 1."""

    def step(self, tokens: Tensor, state: State) -> tuple[Scores, State]:
        """(sentences, width) -> the scores of the next token, and the next state."""

    def narrowed(self, words: Sequence[int]) -> "Stepper":
        """The same with only these tokens, which are sorted and numbered by their places; special ids come first."""

    def reorder(self, state: State, rows: Tensor, sentences: Tensor | None = None) -> State:
        """The state of other hypotheses. `rows`: (sentences, width), the row that each takes, counted over all
        sentences of the state; `sentences`: the places of those that continue, None if all do."""


class _ModelStepper:
    """What all models share: the output layer, over all words or some; pad and bos are never produced."""

    def __init__(self, layer: nn.Linear, output: Callable[[Tensor], Tensor], precision: Precision):
        self._device, self._precision = layer.weight.device, precision
        self._layer, self._output = layer, output
        self._words: Tensor | None = None

    def narrowed(self, words: Sequence[int]) -> Self:
        narrow = copy(self)
        narrow._words = listed = torch.tensor(words, device=self._device)
        narrow._output = product(self._layer.weight[listed], self._layer.bias[listed], self._precision)
        return narrow

    def _bos(self, sentences: int) -> Tensor:
        return torch.full((sentences,), BOS, device=self._device)

    def _column(self, tokens: Tensor) -> Tensor:
        """(sentences, width) -> ids of the vocabulary, (sentences x width, 1)."""
        return (tokens if self._words is None else self._words[tokens]).reshape(-1, 1)

    def _scores(self, outputs: Tensor, tokens: Tensor, attention: Tensor | None = None) -> Scores:
        """`outputs`: what the output layer takes after these tokens, (sentences x width, 1, features)."""
        logits = self._output(outputs[:, 0]).float().view(*tokens.shape, -1)
        found = torch.log_softmax(logits, dim=-1)
        found[..., PAD : BOS + 1].fill_(-torch.inf)
        return Scores(found, attention)


class LanguageModelStepper(_ModelStepper):
    """Continues prompts; a prompt is preceded by bos, and may be empty."""

    def __init__(self, model: LanguageModel, precision: Precision = "float32"):
        self._model, self._steps = evaluating(model), ready(model, precision)
        super().__init__(model.output, self._steps.output, precision)

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        read = [[BOS, *prompt] for prompt in batch]
        lengths = torch.tensor([len(tokens) - 1 for tokens in read])
        last = torch.tensor([tokens[-1] for tokens in read], device=self._device)
        return last, self._model.read(pad(read).to(self._device), lengths)

    def step(self, tokens: Tensor, state: State) -> tuple[Scores, State]:
        outputs, state = self._steps.outputs(self._column(tokens), state)
        return self._scores(outputs, tokens), state

    def reorder(self, state: State, rows: Tensor, sentences: Tensor | None = None) -> State:
        return select_rows(state, rows.flatten())


class PrefixStepper(LanguageModelStepper):
    """Continues prefixes, each of which is read followed by eos."""

    def __init__(self, model: PrefixModel, precision: Precision = "float32"):
        super().__init__(model.language_model, precision)

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        prefixes = [[*prefix, EOS] for prefix in batch]
        lengths = torch.tensor([len(prefix) for prefix in prefixes])
        return self._bos(len(batch)), self._model.read(pad(prefixes).to(self._device), lengths)


class EncoderDecoderStepper(_ModelStepper):
    """Decodes sources; a source is read followed by eos, and kept once for all of a sentence's hypotheses."""

    def __init__(self, model: EncoderDecoder, precision: Precision = "float32"):
        self._model = ready(model, precision)
        super().__init__(model.output, self._model.output, precision)
        self._low = precision != "float32" and why_not("bf16", self._device) is None

    def start(self, batch: Batch) -> tuple[Tensor, State]:
        sources = [[*source, EOS] for source in batch]
        lengths = torch.tensor([len(source) for source in sources])
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
            encoded = self._model.encoder(pad(sources).to(self._device), lengths)
        whole = map_state(_in_float32, encoded) if self._low else encoded
        return self._bos(len(batch)), self._model.decoder.start(whole)

    def step(self, tokens: Tensor, state: State) -> tuple[Scores, State]:
        outputs, state = self._model.decoder(self._column(tokens), state)
        return self._scores(outputs, tokens, self._attention(tokens, state)), state

    @staticmethod
    def _attention(tokens: Tensor, state: State) -> Tensor | None:
        if not state.attention.shape[-1]:
            return None
        return state.attention.view(*tokens.shape, -1).masked_fill(~state.source.attended.mask[:, None], 1.0)

    def reorder(self, state: State, rows: Tensor, sentences: Tensor | None = None) -> State:
        source = state.source if sentences is None else select_rows(state.source, sentences)
        return select_rows(state._replace(source=()), rows.flatten())._replace(source=source)


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def stepper_of(model: Any, precision: Precision = "float32") -> Stepper:
    """The stepper that fits the model, with its current weights."""
    kinds = {LanguageModel: LanguageModelStepper, PrefixModel: PrefixStepper, EncoderDecoder: EncoderDecoderStepper}
    stepper: Stepper = kinds[type(model)](model, precision)
    return stepper
