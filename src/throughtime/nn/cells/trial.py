"""A user's own cell is tried when it is made, by one step of two rows, to report its mistakes before training."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from throughtime import config
from throughtime.nn.cells.base import Cell, CellState, StageFunction, one_step
from throughtime.nn.cells.own import failing

ROWS = 2


def tried(path: str, kind: type[Cell], features: int, hidden: int) -> Cell:
    """A cell of the class that `cell.path` names.

    Raises:
        Mistake: it can't be made, its step fails, or the step returns something other than the cell declares.
    """
    try:
        cell = kind(features, hidden)
        returned = _step(path, cell)
    except config.Mistake:
        raise
    except Exception as error:  # whatever the user's code raises
        raise failing(path, "cell.path", error) from error
    for name in cell.states:
        _refuse_misshapen(path, cell, name, returned)
    return cell


def _step(path: str, cell: Cell) -> CellState:
    """What the stages of a step return, all together."""
    weight, vectors = cell.weight_input, cell.vector_values()
    (gates,) = cell.project(weight.new_ones(ROWS, 1, cell.features)).unbind(1)  # as the engines pass them
    if gates.shape != (ROWS, cell.projected):
        raise _wrong(path, f"project gives {cell.projected} values a row", gates)
    if any(vector.dim() != 1 for vector in vectors):
        raise _wrong(path, "vectors have one dimension each", *vectors)
    returned = CellState()

    def watched(function: StageFunction) -> StageFunction:
        def run(*given: Any) -> CellState:
            found = function(*given)
            if not isinstance(found, dict):
                kind = type(found).__name__
                raise config.wrong("cell.path", path, f"a cell whose step returns a dict of its states, not {kind}")
            returned.update(found)
            return found

        return run

    stages = [stage._replace(function=watched(stage.function)) for stage in cell.stages()]
    products = [partial(F.linear, weight=weight, bias=bias) for weight, bias in cell.matrices()]
    one_step(stages, products, gates, cell.initial_state(ROWS), vectors)
    return returned


def _refuse_misshapen(path: str, cell: Cell, name: str, returned: CellState) -> None:
    if name not in returned:
        raise config.wrong("cell.path", path, f"a cell whose step returns each of its states, and {name} is missing")
    size = cell.sizes[name]
    if returned[name].shape != (ROWS, size) or returned[name].dtype != cell.weight_input.dtype:
        raise _wrong(
            path, f"step returns {name} with {size} values a row, as {cell.weight_input.dtype}", returned[name]
        )
    if returned[name].isnan().any():
        raise config.wrong(
            "cell.path", path, f"a cell whose step returns numbers, and {name} is NaN for an input of ones"
        )


def _wrong(path: str, expected: str, *found: torch.Tensor) -> config.Mistake:
    shapes = ", ".join(f"{tuple(tensor.shape)} of {tensor.dtype}" for tensor in found)
    return config.wrong("cell.path", path, f"a cell whose {expected}, and for {ROWS} rows this one has {shapes}")
