"""The target side: a stack that starts from the encoder's state and may attend to its outputs at every step."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from throughtime.nn.attention import Attention
from throughtime.nn.cells import Cell
from throughtime.nn.cells.base import CellState
from throughtime.nn.dropout import Rates, Words
from throughtime.nn.encoder import Encoded
from throughtime.nn.stack import Layer, Stack, StackState
from throughtime.nn.state import detach


class Bridge(nn.Module):
    """The decoder's first state out of the encoder's last: s_0 = tanh(B [forward; backward] + b), layer by layer and
    state tensor by state tensor, so that no layer, direction or kind of state is mixed with another's place.

    What the cell does not count among its `bridged` states is left as the decoder's initial state has it.
    """

    def __init__(self, encoder: Stack, decoder: Stack):
        super().__init__()
        self._states = _cell(decoder, 0).bridged
        self.layers = nn.ModuleList(self._linears(encoder, decoder, place) for place in range(len(decoder.layers)))

    def _linears(self, encoder: Stack, decoder: Stack, place: int) -> nn.ModuleList:
        read, written = _cell(encoder, place).sizes, _cell(decoder, place).sizes
        return nn.ModuleList(nn.Linear(read[name] * encoder.directions, written[name]) for name in self._states)

    def forward(self, state: StackState, initial: StackState) -> StackState:
        layers = enumerate(zip(state, initial, strict=True))
        return tuple(({**begun, **self._bridged(place, sides)},) for place, (sides, (begun,)) in layers)

    def _bridged(self, place: int, sides: tuple[CellState, ...]) -> CellState:
        linears = zip(self._states, cast(nn.ModuleList, self.layers[place]), strict=True)
        return {name: torch.tanh(linear(torch.cat([side[name] for side in sides], dim=-1))) for name, linear in linears}


def _cell(stack: Stack, layer: int) -> Cell:
    """A cell of a layer; those of all directions are alike."""
    return cast(Cell, cast(Layer, stack.layers[layer]).cells[0])


class Source(NamedTuple):
    """What a decoder may look at, a row a sentence: `memory` and `mask` as in `Encoded`, and the attention's `keys`, 0 wide
    without attention."""

    memory: Tensor
    mask: Tensor
    keys: Tensor


class DecoderState(NamedTuple):
    """All that the next step needs: the source, and for each hypothesis (one a sentence in training, several side by side
    in a search) the stack's state and `attention`, (rows, time, source time), where the last steps looked."""

    source: Source
    stack: StackState
    attention: Tensor


class Decoder(nn.Module):
    """Teacher-forced or step by step: token ids (batch, time) and a state -> outputs (batch, time, hidden) and a state.

    With attention the output is tanh(C [h_t; c_t]), c_t attended by h_t (Luong et al. 2015, without input feeding);
    without, it is h_t.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        stack: Stack,
        bridge: Bridge,
        attention: Attention | None,
        width: int,
        rates: Rates,
    ):
        super().__init__()
        self.words = Words(embedding.num_embeddings, rates.words)
        self.embedding, self.stack, self.bridge, self.attention = embedding, stack, bridge, attention
        self.combine = nn.Linear(stack.width + width, stack.width) if attention else None

    def start(self, encoded: Encoded) -> DecoderState:
        """The state before the first target token."""
        keys = self.attention.keys(encoded.memory) if self.attention else encoded.memory[:, :0]
        stack = self.bridge(encoded.state, self.stack.initial_state(len(encoded.memory)))
        return DecoderState(
            Source(encoded.memory, encoded.mask, keys), stack, encoded.memory.new_zeros(len(keys), 1, 0)
        )

    def forward(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        outputs, stack = self.stack(self.words(tokens, self.embedding(tokens)), state.stack)
        if not (self.attention and self.combine):
            return outputs, state._replace(stack=stack)
        queries = outputs.reshape(
            len(state.source.memory), -1, outputs.shape[-1]
        )  # all hypotheses of a sentence together
        contexts, weights = self.attention(queries, state.source.keys, state.source.memory, state.source.mask)
        outputs = torch.tanh(self.combine(torch.cat([outputs, contexts.view(*outputs.shape[:2], -1)], dim=-1)))
        return outputs, state._replace(stack=stack, attention=weights.view(*outputs.shape[:2], -1))

    def in_chunks(self, tokens: Tensor, state: DecoderState, chunk: int | None) -> Tensor:
        """Outputs for all steps, the gradient through the recurrent state cut every `chunk` steps (truncated BPTT)."""
        outputs: list[Tensor] = []
        for part in tokens.split(chunk or tokens.shape[1], dim=1):
            output, state = self(part, state._replace(stack=detach(state.stack)) if outputs else state)
            outputs.append(output)
        return torch.cat(outputs, dim=1)
