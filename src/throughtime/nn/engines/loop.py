"""The reference: any cell, one step after the other, differentiated by autograd."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState, Matrices, one_step
from throughtime.nn.engines.masks import Masks
from throughtime.nn.state import replace_rows


def loop(
    cell: Cell, inputs: Tensor, state: CellState, masks: Masks | None, matrices: Matrices
) -> tuple[Tensor, CellState]:
    """Inputs (batch, time, features) and a state -> outputs (batch, time, width) and the state after the last step."""
    outputs, output = [], cell.states[0]
    stages, vectors = cell.stages(), cell.vector_values()
    products = [partial(F.linear, weight=weight, bias=bias) for weight, bias in matrices]

    def step(gates: Tensor, state: CellState) -> CellState:
        carried = one_step(stages, products, gates, state, vectors)
        return {name: carried[name] for name in cell.states}

    initial = cell.initial_state(len(inputs)) if masks else state
    for time, gates in enumerate(cell.project(inputs).unbind(1)):  # unbind's gradient is one stack, not T slices
        if masks is None:
            state = step(gates, state)
            outputs.append(state[output])
            continue
        running, resets = masks.slices(time)
        state = replace_rows(state, resets, initial)
        fresh = step(gates, state)
        outputs.append(torch.where(running, fresh[output], 0.0))
        state = replace_rows(state, running, fresh)
    return torch.stack(outputs, dim=1), state
