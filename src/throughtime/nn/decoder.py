"""The target side: a stack that starts from what the encoder has read, and may look at it again at every step."""

from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from throughtime.nn.attention import Attended, Attention, Looked
from throughtime.nn.bridge import Bridge, Summary
from throughtime.nn.cells import Cell
from throughtime.nn.dropout import Rates, WordDropout
from throughtime.nn.encoder import Encoded
from throughtime.nn.readout import Readout
from throughtime.nn.stack import Layer, Stack, StackNoise, StackState, TextNoise
from throughtime.nn.state import detach, in_chunks


class Form(NamedTuple):
    """How the context and the last readout reach the decoder beyond its first state.

    `query_before`: the query is the state before a step, and the context goes into the stack's input (Bahdanau et al. 2015);
    otherwise the query is the state after it (Luong et al. 2015). A summary is an input at every step either way.
    `input_feeding`: the previous step's readout goes into the stack's input (Luong et al. 2015, section 3.3).
    `reads_context`, `reads_words`: what the readout sees besides the stack's output.
    """

    query_before: bool = False
    input_feeding: bool = False
    reads_context: bool = False
    reads_words: bool = False


class DecoderSource(NamedTuple):
    """What a decoder may look at, one row per sentence: the source as attention sees it, and the `summary`, (sentences,
    width); what a decoder has no use for is 0 wide."""

    attended: Attended
    summary: Tensor


class DecoderState(NamedTuple):
    """All that the next step needs: the source, and for each hypothesis (one per sentence in training, several in a
    search) the stack's state, its last `output`, the readout `fed` back, what attention has `seen`, and where it looked
    in the last steps, `attention` (rows, time, source time); what a decoder has no use for is 0 wide."""

    source: DecoderSource
    stack: StackState
    output: Tensor
    fed: Tensor
    seen: Tensor
    attention: Tensor


class Decoder(nn.Module):
    """Teacher-forced or step by step: token ids (batch, time) and a state -> readouts (batch, time, width) and a state.

    The stack's input is [word; the context, if it is a summary or queried before the step; the readout, if it is fed
    back]. All steps go through the stack at once, unless each needs what the step before it has attended to or read out.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        stack: Stack,
        bridge: Bridge,
        context: Attention | Summary | None,
        readout: Readout,
        form: Form,
        rates: Rates,
    ):
        super().__init__()
        self.word_dropout = WordDropout(embedding.num_embeddings, rates.words)
        self.embedding, self.stack, self.bridge, self.readout = embedding, stack, bridge, readout
        self.attention = context if isinstance(context, Attention) else None
        self.summary = context if isinstance(context, Summary) else None
        self.form, self.width = form, readout.width

    def start(self, encoded: Encoded) -> DecoderState:
        """The state before the first target token."""
        memory, none = encoded.memory, encoded.memory[:, 0, :0]
        looks, stack = self.attention, self.bridge(encoded.state, self.stack.initial_state(len(memory)))
        keys, values, seen = (
            (looks.key(memory), looks.value(memory), looks.unseen(memory)) if looks else [memory[..., :0]] * 3
        )
        summary = self.summary(encoded.state) if self.summary else none
        return DecoderState(
            source=DecoderSource(Attended(keys, values, encoded.mask), summary),
            stack=stack,
            output=self._output(stack) if self.form.query_before else none,
            fed=memory.new_zeros(len(memory), self.width) if self.form.input_feeding else none,
            seen=seen,
            attention=memory.new_zeros(len(memory), 1, 0),
        )

    def _output(self, state: StackState) -> Tensor:
        """The top layer's last output, as its state holds it."""
        cell = cast(Cell, cast(Layer, self.stack.layers[-1]).cells[0])
        return state[-1][0][cell.states[0]]

    def draw(self, rows: int) -> TextNoise | None:
        """In training, the noise of whole targets; without it every call of `forward` draws its own."""
        return (
            TextNoise(self.word_dropout.draw(self.embedding.weight), self.stack.draw(rows)) if self.training else None
        )

    def forward(
        self, tokens: Tensor, state: DecoderState, noise: TextNoise | None = None
    ) -> tuple[Tensor, DecoderState]:
        noise = noise or self.draw(len(tokens))
        words, readouts = self.word_dropout(tokens, self.embedding(tokens), noise and noise.words), []
        for part in words.split(1 if self.form.query_before or self.form.input_feeding else words.shape[1], dim=1):
            readout, state = self._advance(part, state, noise and noise.stack)
            readouts.append(readout)
        return torch.cat(readouts, dim=1), state

    def _advance(self, words: Tensor, state: DecoderState, noise: StackNoise | None) -> tuple[Tensor, DecoderState]:
        """Words (batch, time, features): of all steps, or of a single one."""
        source, hypotheses = state.source, len(words) // len(state.source.summary)
        summary = _at_every_step(source.summary.repeat_interleave(hypotheses, dim=0), words)
        looked = Looked(summary, state.seen, state.attention)
        if self.attention and self.form.query_before:
            looked = self.attention(state.output[:, None], source.attended, state.seen)
        read = torch.cat([words, looked.context, _at_every_step(state.fed, words)], dim=-1)
        outputs, stack = self.stack(read, state.stack, noise=noise)
        if self.attention and not self.form.query_before:
            looked = self.attention(outputs, source.attended, state.seen)
        contexts, spoken = [looked.context] if self.form.reads_context else [], [words] if self.form.reads_words else []
        readout = self.readout(outputs, *contexts, *spoken)
        output = outputs[:, -1] if self.form.query_before else state.output
        fed = readout[:, -1] if self.form.input_feeding else state.fed
        return readout, DecoderState(source, stack, output, fed, looked.seen, looked.attention)

    def in_chunks(self, tokens: Tensor, state: DecoderState, chunk: int | None) -> Tensor:
        """Readouts of all steps, the gradient from step to step cut every `chunk` steps (truncated BPTT)."""
        return in_chunks(partial(self, noise=self.draw(len(tokens))), tokens, state, chunk, cut_off)


def cut_off(state: DecoderState) -> DecoderState:
    """The same values without the gradient from step to step; the gradient to the source is kept."""
    return DecoderState(state.source, *detach(list(state[1:])))


def _at_every_step(vector: Tensor, words: Tensor) -> Tensor:
    """(batch, width) -> (batch, time, width), repeated for every step of the words."""
    return vector[:, None].expand(-1, words.shape[1], -1)
