"""The source side: embedding and a stack, one way or both."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime.nn.dropout import Rates, Words
from throughtime.nn.stack import Stack, StackState


class Encoded(NamedTuple):
    """A source read: `memory` (batch, time, width), `mask` (batch, time) true where the source counts, final `state`."""

    memory: Tensor
    mask: Tensor
    state: StackState


class Encoder(nn.Module):
    """Token ids (batch, time) and their lengths (batch,) -> `Encoded`."""

    def __init__(self, embedding: nn.Embedding, stack: Stack, rates: Rates):
        super().__init__()
        self.embedding, self.stack = embedding, stack
        self.words = Words(embedding.num_embeddings, rates.words)

    def forward(self, source: Tensor, lengths: Tensor) -> Encoded:
        mask = torch.arange(source.shape[1], device=source.device) < lengths[:, None]
        ragged = None if int(lengths.min()) == source.shape[1] else lengths
        memory, state = self.stack(self.words(source, self.embedding(source)), lengths=ragged)
        return Encoded(memory, mask, state)
