"""The target side: a stack that begins from what the encoder has read, and may look at it again at every step."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from throughtime import config
from throughtime.nn.attention import Attention, Source
from throughtime.nn.cells import Cell
from throughtime.nn.cells.base import CellState
from throughtime.nn.dropout import Rates, Words
from throughtime.nn.encoder import Encoded
from throughtime.nn.products import Linear
from throughtime.nn.stack import Layer, Stack, StackNoise, StackState, TextNoise
from throughtime.nn.state import detach


class Bridge(nn.Module):
    """The decoder's first state out of the encoder's last, layer by layer from the top and state tensor by state tensor, so
    that no layer, direction or kind of state gets into another's place.

    linear   s_0 = tanh(B [forward; backward] + b)
    copy     s_0 = [forward; backward], for a decoder that is as wide as both together
    zero     the decoder's own initial state

    `sizes`: of the encoder's state (`encoder.Reader`). A decoder deeper than the encoder takes the encoder's first layer for
    all that lie below; a state tensor that the encoder does not have is made of its output. What the decoder's cell does
    not count among its `bridged` states is left as its initial state has it.

    Raises:
        Mistake: a state that cannot be copied.
    """

    def __init__(self, kind: Literal["linear", "copy", "zero"], sizes: Sequence[dict[str, int]], decoder: Stack):
        super().__init__()
        self._taken: list[dict[str, str]] = []  # layer by layer, which of the encoder's states each is made of
        self._below = len(sizes) - len(decoder.layers)
        self.layers = nn.ModuleList()
        for place, layer in enumerate(decoder.layers):
            cell = cast(Cell, cast(Layer, layer).cells[0])
            read = sizes[max(0, place + self._below)]
            taken = {name: name if name in read else next(iter(read)) for name in cell.bridged if kind != "zero"}
            linears = {name: Linear(read[origin], cell.sizes[name]) for name, origin in taken.items()}
            if kind == "copy":
                _refuse_uncopied({name: (read[origin], cell.sizes[name]) for name, origin in taken.items()})
            self._taken.append(taken)
            self.layers.append(nn.ModuleDict(linears if kind == "linear" else {}))

    def forward(self, state: StackState, initial: StackState) -> StackState:
        """The encoder's state and the decoder's initial one -> the decoder's first."""
        return tuple(
            ({**begun, **self._bridged(place, state[max(0, place + self._below)])},)
            for place, (begun,) in enumerate(initial)
        )

    def _bridged(self, place: int, sides: tuple[CellState, ...]) -> CellState:
        linears = cast(nn.ModuleDict, self.layers[place])
        read = {name: side_by_side(sides, origin) for name, origin in self._taken[place].items()}
        return {name: torch.tanh(linears[name](value)) if linears else value for name, value in read.items()}


def _refuse_uncopied(sizes: dict[str, tuple[int, int]]) -> None:
    """By state how wide it is, in the encoder and in the decoder."""
    for name, (read, written) in sizes.items():
        if read != written:
            allowed = f"linear, or an encoder with {written} for the decoder's {name} and not {read}, by encoder.hidden"
            raise config.wrong("model.bridge", "copy", allowed)


def side_by_side(sides: Sequence[CellState], name: str) -> Tensor:
    """A state tensor of all directions, (batch, directions x size)."""
    return torch.cat([side[name] for side in sides], dim=-1)


class Summary(nn.Module):
    """c = tanh(V h + b), h the last output of the encoder's top layer, both directions (Cho et al. 2014)."""

    def __init__(self, sizes: Sequence[dict[str, int]], width: int):
        super().__init__()
        self._name, read = next(iter(sizes[-1].items()))
        self.linear, self.width = Linear(read, width), width

    def forward(self, state: StackState) -> Tensor:
        """The encoder's state -> (batch, width)."""
        return torch.tanh(self.linear(side_by_side(state[-1], self._name)))


class Readout(nn.Module):
    """What the output layer reads, made of the stack's output h, the context c, and with `words` the word y before.

    plain    h; with a context tanh(W [h; c]) (Luong et al. 2015, eq. 5)
    deep     tanh(W [h; c; y] + b) (Pascanu et al. 2014)
    maxout   the larger of each two units of W [h; c; y] + b (Bahdanau et al. 2015, A.2.2)
    """

    def __init__(self, kind: Literal["plain", "deep", "maxout"], hidden: int, context: int, words: int, width: int):
        super().__init__()
        self.pieces = 2 if kind == "maxout" else 1
        read = hidden + context + words
        bare = kind == "plain" and read == hidden
        self.linear = None if bare else Linear(read, width * self.pieces, bias=kind != "plain")
        self.width = hidden if bare else width

    def forward(self, *parts: Tensor) -> Tensor:
        """h, c, y, each (batch, time, its width) or left out -> (batch, time, width)."""
        if self.linear is None:
            return parts[0]
        return self.shaped(self.linear(torch.cat(parts, dim=-1)))

    def shaped(self, made: Tensor) -> Tensor:
        """What becomes of the product, (..., width x pieces) -> (..., width)."""
        return torch.tanh(made) if self.pieces == 1 else made.unflatten(-1, (-1, 2)).amax(-1)


class Form(NamedTuple):
    """How the context and the last readout reach the decoder beyond its first state.

    `early`: attention by the state before a step, its context into the stack's input (Bahdanau et al. 2015), rather than by
    the state behind it (Luong et al. 2015); a summary is there at every step anyway. `feeding`: the readout of the step
    before goes into the stack's input (Luong et al. 2015, section 3.3). `reads_context`, `reads_words`: what the readout
    sees beside the stack's output.
    """

    early: bool = False
    feeding: bool = False
    reads_context: bool = False
    reads_words: bool = False


class DecoderSource(NamedTuple):
    """What a decoder may look at, a row a sentence: the source as attention sees it, and the `summary`, (sentences, width);
    what a decoder has no use for is 0 wide."""

    attended: Source
    summary: Tensor


class DecoderState(NamedTuple):
    """All that the next step needs: the source, and for each hypothesis (one a sentence in training, several side by side
    in a search) the stack's state, its last `output`, the readout `fed` back, what attention has `seen`, and where it
    looked in the last steps, `attention` (rows, time, source time); what a decoder has no use for is 0 wide."""

    source: DecoderSource
    stack: StackState
    output: Tensor
    fed: Tensor
    seen: Tensor
    attention: Tensor


class Decoder(nn.Module):
    """Teacher-forced or step by step: token ids (batch, time) and a state -> readouts (batch, time, width) and a state.

    The stack's input is [word; context if a summary or early; readout if fed]. All steps go through the stack at once
    unless one waits for what another has attended to or read out.
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
        self.words = Words(embedding.num_embeddings, rates.words)
        self.embedding, self.stack, self.bridge, self.readout = embedding, stack, bridge, readout
        self.attention = context if isinstance(context, Attention) else None
        self.summary = context if isinstance(context, Summary) else None
        self.form, self.width = form, readout.width

    def start(self, encoded: Encoded) -> DecoderState:
        """The state before the first target token."""
        memory, none = encoded.memory, encoded.memory[:, 0, :0]
        looks, stack = self.attention, self.bridge(encoded.state, self.stack.initial_state(len(memory)))
        keys, values, seen = (
            (looks.keys(memory), looks.values(memory), looks.unseen(memory)) if looks else [memory[..., :0]] * 3
        )
        summary = self.summary(encoded.state) if self.summary else none
        return DecoderState(
            source=DecoderSource(Source(keys, values, encoded.mask), summary),
            stack=stack,
            output=self._output(stack) if self.form.early else none,
            fed=memory.new_zeros(len(memory), self.width) if self.form.feeding else none,
            seen=seen,
            attention=memory.new_zeros(len(memory), 1, 0),
        )

    def _output(self, state: StackState) -> Tensor:
        """What the top layer's state says its output was."""
        cell = cast(Cell, cast(Layer, self.stack.layers[-1]).cells[0])
        return state[-1][0][cell.states[0]]

    def draw(self, rows: int) -> TextNoise | None:
        """In training, the noise of whole targets; without it every call of `forward` draws its own."""
        return TextNoise(self.words.draw(self.embedding.weight), self.stack.draw(rows)) if self.training else None

    def forward(
        self, tokens: Tensor, state: DecoderState, noise: TextNoise | None = None
    ) -> tuple[Tensor, DecoderState]:
        noise = noise or self.draw(len(tokens))
        words, found = self.words(tokens, self.embedding(tokens), noise and noise.words), []
        for part in words.split(1 if self.form.early or self.form.feeding else words.shape[1], dim=1):
            readout, state = self._advance(part, state, noise and noise.stack)
            found.append(readout)
        return torch.cat(found, dim=1), state

    def _advance(self, words: Tensor, state: DecoderState, noise: StackNoise | None) -> tuple[Tensor, DecoderState]:
        """Words (batch, time, features): all steps, or the one that waited."""
        source, hypotheses = state.source, len(words) // len(state.source.summary)
        context, looked = _at_every_step(source.summary.repeat_interleave(hypotheses, dim=0), words), state[-2:]
        if self.attention and self.form.early:
            context, *looked = self.attention(state.output[:, None], source.attended, state.seen)
        read = torch.cat([words, context, _at_every_step(state.fed, words)], dim=-1)
        outputs, stack = self.stack(read, state.stack, noise=noise)
        if self.attention and not self.form.early:
            context, *looked = self.attention(outputs, source.attended, state.seen)
        readout = self.readout(outputs, *[context] * self.form.reads_context, *[words] * self.form.reads_words)
        output = outputs[:, -1] if self.form.early else state.output
        fed = readout[:, -1] if self.form.feeding else state.fed
        return readout, DecoderState(source, stack, output, fed, *looked)

    def in_chunks(self, tokens: Tensor, state: DecoderState, chunk: int | None) -> Tensor:
        """Readouts of all steps, the gradient from step to step cut every `chunk` steps (truncated BPTT)."""
        found: list[Tensor] = []
        noise = self.draw(len(tokens))
        for part in tokens.split(chunk or tokens.shape[1], dim=1):
            readout, state = self(part, cut_off(state) if found else state, noise)
            found.append(readout)
        return torch.cat(found, dim=1)


def cut_off(state: DecoderState) -> DecoderState:
    """The same values without the gradient from step to step; that to the source stays."""
    return DecoderState(state.source, *detach(list(state[1:])))


def _at_every_step(vector: Tensor, words: Tensor) -> Tensor:
    """(batch, width) -> (batch, time, width), time that of the words."""
    return vector[:, None].expand(-1, words.shape[1], -1)
