"""A cell over time, by one of the engines; lengths, resets and reversal are settled here, for every cell alike."""

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime import config
from throughtime.nn.cells import Cell, LinearCell, Lstm, Mlstm
from throughtime.nn.cells.base import CellState, Drawn, Matrices
from throughtime.nn.engines import compiling
from throughtime.nn.engines.chunkwise import chunkwise
from throughtime.nn.engines.fused import fused
from throughtime.nn.engines.loop import loop
from throughtime.nn.engines.masks import column, counted, masks
from throughtime.nn.engines.native import KERNELS, native
from throughtime.nn.engines.once import tell_once
from throughtime.nn.engines.scan import scan

WIDE = 384  # units from which the compiled LSTM in bf16 is faster than torch's, on a CPU without matrix tiles (AMX)
WORTH_COMPILING = 1 << 14  # units x steps x rows of a batch; below, a run is over before its kernels are compiled


class Batch(NamedTuple):
    """What a cell goes through: inputs (batch, time, features), the state before them, and the rest as for `run`."""

    inputs: Tensor
    state: CellState
    lengths: Tensor | None
    resets: Tensor | None


def run(
    cell: Cell,
    inputs: Tensor,
    state: CellState | None = None,
    lengths: Tensor | None = None,
    backward: bool = False,
    engine: str = "auto",
    resets: Tensor | None = None,
    drawn: Drawn | None = None,
) -> tuple[Tensor, CellState]:
    """Runs a cell over time.

    Args:
        inputs: (batch, time, features).
        state: where the recurrence starts, each tensor (batch, its size); by default as in `cell.initial_state`.
        lengths: (batch,) on the CPU, the steps that count in each row; None where all do.
        backward: from each row's last step that counts to its first.
        engine: `loop`, `native`, `fused`, `scan`, or `auto` for the fastest that has the cell, or `uncompiled` for the
            fastest of those that need no compiler; one that lacks a cell, or cannot run a batch, leaves it to `loop`.
        resets: (batch, time), steps before which a row restarts from `cell.initial_state`; backward, too, no state
            crosses the boundary before such a step.
        drawn: what `cell.active.draw` gave, for a sequence that comes in parts; None draws for this run alone.

    Returns:
        Outputs (batch, time, width), zero beyond a row's length, and the state after each row's last step.

    Raises:
        Mistake: `engine=fused`, and the cell's step can't be compiled.
        ValueError: inputs or a state of another shape, beyond whose ends torch's kernels would read on.
    """
    cell, state = cell.active, {**cell.initial_state(len(inputs)), **(state or {})}
    _refuse_other_shapes(cell, inputs, state)
    drawn = drawn or cell.draw(len(inputs))
    batch = Batch(cell.with_noise(inputs, drawn), state, lengths, resets)
    if not backward:
        return _run(cell, batch, engine, drawn.matrices)
    outputs, state = _run(cell, _from_behind(batch), engine, drawn.matrices)
    return reverse(outputs, lengths), state


def _refuse_other_shapes(cell: Cell, inputs: Tensor, state: CellState) -> None:
    if inputs.shape[2] != cell.features:
        raise ValueError(f"inputs of {inputs.shape[2]} features: {type(cell).__name__} takes {cell.features}")
    for name, size in cell.sizes.items():
        if state[name].shape != (len(inputs), size):
            raise ValueError(f"state {name} of shape {tuple(state[name].shape)}: allowed is {(len(inputs), size)}")


def _run(cell: Cell, batch: Batch, engine: str, matrices: Matrices) -> tuple[Tensor, CellState]:
    """Forward, by the engine asked for or the fastest, with the loop in place of one that cannot."""
    by_name = engine not in ("auto", "uncompiled")
    name = engine if by_name else _fastest(cell, batch, may_compile=engine == "auto")
    reason = _why_not(name, cell, batch)
    if reason and by_name:
        tell_once(f"{reason}, so engine=loop takes its place")
    try:
        return _run_by("loop" if reason else name, cell, batch, matrices)
    except config.Mistake as mistake:
        if engine != "auto":
            raise
        tell_once(f"{mistake} engine=auto takes that.")
    return _run_by("loop", cell, batch, matrices)


def _run_by(engine: str, cell: Cell, batch: Batch, matrices: Matrices) -> tuple[Tensor, CellState]:
    inputs, state, lengths, resets = batch
    if engine == "native":
        return native(cell, inputs, state, lengths, matrices)
    settled = masks(inputs, lengths, resets)
    match engine, cell:
        case "scan", LinearCell():
            return scan(cell, inputs, state, settled, matrices)
        case "scan", Mlstm():
            return chunkwise(cell, inputs, state, settled)
        case "fused", _:
            return fused(cell, inputs, state, settled, matrices)
    return loop(cell, inputs, state, settled, matrices)


def _why_not(engine: str, cell: Cell, batch: Batch) -> str | None:
    """Why an engine cannot run a batch, or None where it can."""
    if not _has(engine, cell, batch):
        return f"engine={engine} has no {type(cell).__name__} for such a batch"
    reason = compiling.why_not_compiled(batch.inputs.device) if engine == "fused" else None
    return reason and f"engine=fused: {reason}"


def _has(engine: str, cell: Cell, batch: Batch) -> bool:
    match engine:
        case "native":
            plain = type(cell) in KERNELS and batch.resets is None
            return plain and (batch.lengths is None or int(batch.lengths.min()) > 0)
        case "scan":
            return isinstance(cell, LinearCell | Mlstm)
        case "fused":
            return not isinstance(cell, Mlstm)
    return True


def _fastest(cell: Cell, batch: Batch, may_compile: bool) -> str:
    """The fastest engine for a batch: `scan` where the recurrence is linear; torch's where it has the cell and the batch
    (on a CPU the derivative of its packed sequences takes time quadratic in the length); the compiled one where there
    is enough work."""
    if isinstance(cell, LinearCell | Mlstm):
        return "scan"
    inputs, _, lengths, resets = batch
    rows, steps, _ = inputs.shape
    packs = lengths is None or inputs.is_cuda or not torch.is_grad_enabled()
    plain = type(cell) in KERNELS and resets is None and packs
    if plain and (inputs.is_cuda or steps == 1 or (type(cell) is Lstm and not _low_and_wide(cell))):
        return "native"
    worth = steps > 1 and rows * steps * cell.hidden >= WORTH_COMPILING
    if may_compile and worth and compiling.why_not_compiled(inputs.device) is None:
        return "fused"
    return "native" if plain else "loop"


def _low_and_wide(cell: Cell) -> bool:
    tiled = torch.cpu._is_amx_tile_supported()
    return torch.is_autocast_enabled("cpu") and cell.hidden >= WIDE and not tiled


def _from_behind(batch: Batch) -> Batch:
    """A batch to be read from each row's last step to its first. The boundary before step t then comes after it, before
    step t - 1."""
    inputs, state, lengths, resets = batch
    if resets is not None:
        cuts = torch.cat([resets[:, 1:], torch.zeros_like(resets[:, :1])], dim=1)
        cuts = cuts if lengths is None else cuts & counted(cuts, lengths - 1)
        resets = reverse(cuts[..., None], lengths)[..., 0]
    return Batch(reverse(inputs, lengths), state, lengths, resets)


def reverse(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """(batch, time, ...) with each row's first `lengths` steps reversed and the padding left in place."""
    if lengths is None:
        return sequence.flip(1)
    time = torch.arange(sequence.shape[1], device=sequence.device)
    mirrored = column(lengths, sequence) - 1 - time
    places = torch.where(mirrored >= 0, mirrored, time)
    return sequence.gather(1, places[..., None].expand_as(sequence))
