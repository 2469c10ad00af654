"""A cell over time, by one of the engines; lengths and reversal are settled here, for every engine and cell alike."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.nn.cells import Cell, Gru, Lstm, ReluRnn, TanhRnn
from throughtime.nn.cells.base import CellState

Engine = Callable[[Cell, Tensor, CellState, Tensor | None], tuple[Tensor, CellState]]


def loop(cell: Cell, inputs: Tensor, state: CellState, lengths: Tensor | None) -> tuple[Tensor, CellState]:
    """The reference: any cell, one step after the other. A row's state stays once its length is reached."""
    outputs = []
    for time, projected in enumerate(cell.project(inputs).unbind(1)):  # unbind's gradient is one stack, not T slices
        fresh = cell.step(projected, cell.recur(state), state)
        output = fresh[cell.states[0]]
        if lengths is not None:
            running = (time < lengths)[:, None]
            fresh = {name: torch.where(running, fresh[name], state[name]) for name in fresh}
            output = torch.where(running, output, 0.0)
        state = fresh
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


def native(cell: Cell, inputs: Tensor, state: CellState, lengths: Tensor | None) -> tuple[Tensor, CellState]:
    """torch's own kernels (oneDNN, cuDNN), for the cells whose equations they compute."""
    if lengths is not None and int(lengths.min()) == 0:  # packed sequences know no empty row
        return loop(cell, inputs, state, lengths)
    weights = [cell.weight_input, cell.weight_hidden, cell.bias_input, cell.bias_hidden]
    first, *others = (state[name][None] for name in cell.states)
    carried = (first, *others) if others else first
    settings = (True, 1, 0.0, cell.training, False)  # biases, layers, dropout, training, bidirectional
    if lengths is None:
        outputs, *final = _KERNELS[type(cell)](inputs, carried, weights, *settings, True)
    else:
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        order = packed.sorted_indices
        carried = tuple(part[:, order] for part in carried) if others else first[:, order]
        flat, *final = _KERNELS[type(cell)](packed.data, packed.batch_sizes, carried, weights, *settings)
        final = [part[:, packed.unsorted_indices] for part in final]
        outputs, _ = pad_packed_sequence(packed._replace(data=flat), batch_first=True, total_length=inputs.shape[1])
    return outputs, {name: part[0] for name, part in zip(cell.states, final, strict=True)}


_KERNELS: dict[type[Cell], Callable[..., tuple[Tensor, ...]]] = {
    TanhRnn: torch.rnn_tanh,
    ReluRnn: torch.rnn_relu,
    Lstm: torch.lstm,
    Gru: torch.gru,
}
_ENGINES: dict[str, Engine] = {"loop": loop, "native": native}


def run(
    cell: Cell,
    inputs: Tensor,
    state: CellState | None = None,
    lengths: Tensor | None = None,
    backward: bool = False,
    engine: str = "auto",
) -> tuple[Tensor, CellState]:
    """Runs a cell over time.

    Args:
        inputs: (batch, time, features).
        state: where the recurrence starts, zeros if None; each tensor (batch, hidden).
        lengths: (batch,), the steps that count in each row; None where all do.
        backward: from each row's last step that counts to its first.
        engine: `loop`, `native`, or `auto` for the fastest that has the cell.

    Returns:
        Outputs (batch, time, hidden), zero behind a row's length, and the state after each row's last step.
    """
    state = cell.initial_state(len(inputs)) if state is None else state
    chosen = _ENGINES[_fastest(cell, inputs, lengths) if engine == "auto" else engine]
    if not backward:
        return chosen(cell, inputs, state, lengths)
    outputs, state = chosen(cell, reverse(inputs, lengths), state, lengths)
    return reverse(outputs, lengths), state


def _fastest(cell: Cell, inputs: Tensor, lengths: Tensor | None) -> str:
    """`native` where torch has the cell; but on a CPU its packed sequences cost time in the square of the length."""
    ragged_on_cpu = lengths is not None and not inputs.is_cuda
    return "native" if type(cell) in _KERNELS and not ragged_on_cpu else "loop"


def reverse(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """(batch, time, ...) with each row's first `lengths` steps in reverse and the padding where it was."""
    if lengths is None:
        return sequence.flip(1)
    time = torch.arange(sequence.shape[1], device=sequence.device)
    mirrored = lengths[:, None] - 1 - time
    places = torch.where(mirrored >= 0, mirrored, time)
    return sequence.gather(1, places[..., None].expand_as(sequence))
