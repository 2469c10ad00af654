"""The target side: a stack that starts from the encoder's state and may attend to its outputs at every step."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from throughtime.nn.attention import Attention
from throughtime.nn.cells.base import CellState
from throughtime.nn.encoder import Encoded
from throughtime.nn.stack import Stack, StackState
from throughtime.nn.state import detach


class Bridge(nn.Module):
    """The decoder's first state out of the encoder's last: s_0 = tanh(B [forward; backward] + b), layer by layer and
    state tensor by state tensor, so that no layer, direction or kind of state is mixed with another's place.
    `states` are those that the cell counts among its `bridged`; the others begin as the decoder has them.
    """

    def __init__(self, states: tuple[str, ...], depth: int, width: int, hidden: int):
        super().__init__()
        self._states = states
        self.layers = nn.ModuleList(nn.ModuleList(nn.Linear(width, hidden) for _ in states) for _ in range(depth))

    def forward(self, state: StackState) -> StackState:
        return tuple((self._bridged(place, sides),) for place, sides in enumerate(state))

    def _bridged(self, place: int, sides: tuple[CellState, ...]) -> CellState:
        linears = zip(self._states, cast(nn.ModuleList, self.layers[place]), strict=True)
        return {name: torch.tanh(linear(torch.cat([side[name] for side in sides], dim=-1))) for name, linear in linears}


class DecoderState(NamedTuple):
    """All that the next step needs: the stack's state, and the source it may look at. `keys` is 0 wide without attention."""

    stack: StackState
    memory: Tensor
    mask: Tensor
    keys: Tensor


class Decoder(nn.Module):
    """Teacher-forced or step by step: token ids (batch, time) and a state -> outputs (batch, time, hidden) and a state.

    With attention the output is tanh(C [h_t; c_t]), c_t attended by h_t (Luong et al. 2015, without input feeding);
    without, it is h_t.
    """

    def __init__(self, embedding: nn.Embedding, stack: Stack, bridge: Bridge, attention: Attention | None, width: int):
        super().__init__()
        self.embedding, self.stack, self.bridge, self.attention = embedding, stack, bridge, attention
        self.combine = nn.Linear(stack.width + width, stack.width) if attention else None

    def start(self, encoded: Encoded) -> DecoderState:
        """The state before the first target token."""
        keys = self.attention.keys(encoded.memory) if self.attention else encoded.memory[:, :0]
        return DecoderState(self.bridge(encoded.state), encoded.memory, encoded.mask, keys)

    def forward(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        outputs, stack = self.stack(self.embedding(tokens), state.stack)
        if self.attention and self.combine:
            context, _ = self.attention(outputs, state.keys, state.memory, state.mask)
            outputs = torch.tanh(self.combine(torch.cat([outputs, context], dim=-1)))
        return outputs, state._replace(stack=stack)

    def in_chunks(self, tokens: Tensor, state: DecoderState, chunk: int | None) -> Tensor:
        """Outputs for all steps, the gradient through the recurrent state cut every `chunk` steps (truncated BPTT)."""
        outputs: list[Tensor] = []
        for part in tokens.split(chunk or tokens.shape[1], dim=1):
            output, state = self(part, state._replace(stack=detach(state.stack)) if outputs else state)
            outputs.append(output)
        return torch.cat(outputs, dim=1)
