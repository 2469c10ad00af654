"""The reference: any cell, one step after the other, differentiated by autograd."""

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState, Matrices
from throughtime.nn.engines.masks import Masks
from throughtime.nn.state import replace_rows


def loop(
    cell: Cell, inputs: Tensor, state: CellState, masks: Masks | None, matrices: Matrices
) -> tuple[Tensor, CellState]:
    """Inputs (batch, time, features) and a state -> outputs (batch, time, width) and the state after the last step."""
    outputs, output = [], cell.states[0]
    vectors = cell.vector_values()
    initial = cell.initial_state(len(inputs)) if masks else state
    for time, gates in enumerate(cell.project(inputs).unbind(1)):  # unbind's gradient is one stack, not T slices
        if masks is None:
            state = step(cell, gates, state, matrices, vectors)
            outputs.append(state[output])
            continue
        running, resets = masks.slices(time)
        state = replace_rows(state, resets, initial)
        fresh = step(cell, gates, state, matrices, vectors)
        outputs.append(torch.where(running, fresh[output], 0.0))
        state = replace_rows(state, running, fresh)
    return torch.stack(outputs, dim=1), state


def step(cell: Cell, gates: Tensor, state: CellState, matrices: Matrices, vectors: list[Tensor]) -> CellState:
    """One step: each stage's product, then its pointwise rest."""
    carried = dict(state)
    for stage, matrix in zip(cell.stages(), matrices, strict=True):
        product = None if stage.operand is None else F.linear(carried[stage.operand], *matrix)
        carried |= stage.function(gates, product, carried, *vectors)
    return {name: carried[name] for name in cell.states}
