"""A stack is its cells one after the other; documents in one sequence, cut by resets, are documents alone."""

from itertools import product

import pytest
import torch
from tests.nn.test_cells import KINDS, B, I, T, close, stirred
from torch import Tensor

from throughtime.nn import recurrence
from throughtime.nn.cells.minimal import MinGru
from throughtime.nn.cells.qrnn import OutputQrnn
from throughtime.nn.stack import Stack
from throughtime.nn.state import map_state

LINEAR = {"mingru": MinGru, "qrnn": OutputQrnn}
WITH_ENGINES = [
    *product(["lstm", "gru", "slstm", "scrn"], ["loop", "fused"]), ("lstm", "native"), *product(LINEAR, ["loop", "scan"])
]  # fmt: skip


@pytest.mark.parametrize(("merge", "residual"), product(["concat", "sum"], [False, True]))
def test_layers_follow_one_another(merge: str, residual: bool) -> None:
    stack = Stack(KINDS["lstm"], 4, [4, 2, 4], True, engine="loop", merge=merge, residual=residual)
    outputs = inputs = torch.randn(B, T, 4)
    for layer in stack.layers:
        ahead = recurrence.run(layer.cells[0], outputs, engine="loop")[0]
        behind = recurrence.run(layer.cells[1], outputs.flip(1), engine="loop")[0].flip(1)
        merged = ahead + behind if merge == "sum" else torch.cat([ahead, behind], dim=-1)
        outputs = outputs + merged if residual and merged.shape == outputs.shape else merged
    close(stack(inputs)[0], outputs)
    assert stack.width == outputs.shape[-1] == (4 if merge == "sum" else 8)


@pytest.mark.parametrize(("name", "engine"), WITH_ENGINES)
def test_a_learned_state_is_a_state_given(name: str, engine: str) -> None:
    stack, inputs = Stack({**KINDS, **LINEAR}[name], I, [4, 4], engine=engine, learned_state=True), torch.randn(B, T, I)
    stirred(stack)
    learned = [dict(layer.cells[0].learned) for layer in stack.layers]
    ours = torch.autograd.grad(stack(inputs)[0].cos().sum(), [part for layer in learned for part in layer.values()])
    state = map_state(lambda part: part.detach().requires_grad_(), stack.initial_state(B))
    given = [side[part] for layer, (side,) in zip(learned, state, strict=True) for part in layer]
    theirs = torch.autograd.grad(stack(inputs, state)[0].cos().sum(), given)
    assert given
    for one, other in zip(ours, theirs, strict=True):
        close(one, other.sum(0))


@pytest.mark.parametrize(("run", "both", "learned"), product(WITH_ENGINES, [False, True], [False, True]))
def test_resets_part_documents(run: tuple[str, str], both: bool, learned: bool) -> None:
    kind = {**KINDS, **LINEAR}[run[0]]
    stack = stirred(Stack(kind, I, [4, 4], both, engine=run[1], residual=True, learned_state=learned))
    inputs, lengths = torch.randn(B, T, I), torch.tensor([7, 6, 4])
    resets = torch.zeros(B, T, dtype=torch.bool)
    resets[0, 3] = resets[1, 0] = resets[1, 5] = resets[2, 1] = resets[2, 2] = resets[2, 4] = True
    documents = {0: [(0, 3), (3, 7)], 1: [(0, 5), (5, 6)], 2: [(0, 1), (1, 2), (2, 4)]}
    outputs, _ = stack(inputs, lengths=lengths, resets=resets)
    alone = [stack(inputs[row : row + 1, a:b])[0] for row, spans in documents.items() for a, b in spans]
    together = [outputs[row : row + 1, a:b] for row, spans in documents.items() for a, b in spans]
    for one, other in zip(together, alone, strict=True):
        close(one, other)
    for one, other in zip(*(gradients(parts, stack) for parts in (together, alone)), strict=True):
        close(one, other)


def gradients(parts: list[Tensor], stack: Stack) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sum(part.sin().sum() for part in parts), list(stack.parameters()), retain_graph=True)
