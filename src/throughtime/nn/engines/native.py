"""torch's own kernels (oneDNN, cuDNN), for the cells whose equations they compute."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.nn.cells import Cell, Gru, Lstm, ReluRnn, TanhRnn
from throughtime.nn.cells.base import CellState, Matrices

KERNELS: dict[type[Cell], Callable[..., tuple[Tensor, ...]]] = {
    TanhRnn: torch.rnn_tanh,
    ReluRnn: torch.rnn_relu,
    Lstm: torch.lstm,
    Gru: torch.gru,
}


def native(
    cell: Cell, inputs: Tensor, state: CellState, lengths: Tensor | None, matrices: Matrices
) -> tuple[Tensor, CellState]:
    """Inputs (batch, time, features) and a state -> outputs (batch, time, hidden) and the state after each row's end.

    Every length must be at least 1. On a GPU it works in the weights' own precision: torch would have cuDNN multiply in
    float16, whatever autocast says (aten/src/ATen/cudnn/AutocastRNN.cpp), and nobody scales the loss for that.
    """
    if inputs.is_cuda and torch.is_autocast_enabled("cuda"):
        dtype = cell.weight_input.dtype
        with torch.autocast("cuda", enabled=False):
            own = {name: part.to(dtype) for name, part in state.items()}
            return native(cell, inputs.to(dtype), own, lengths, matrices)
    kernel = KERNELS[type(cell)]
    ((weight_hidden, bias_hidden),) = matrices
    weights = [cell.weight_input, weight_hidden, cell.bias_input, bias_hidden]
    carried = [state[name][None] for name in cell.states]
    learning = torch.is_grad_enabled()  # cuDNN differentiates only what ran as training
    settings = (True, 1, 0.0, learning, False)  # biases, layers, dropout, training, bidirectional
    if lengths is None:
        outputs, *final = kernel(inputs, _as_torch_has_it(carried), weights, *settings, True)
    else:
        order = lengths.argsort(descending=True)  # torch's own sorting would wait for the GPU
        longest_first, back = (rows.to(inputs.device, non_blocking=True) for rows in (order, order.argsort()))
        packed = pack_padded_sequence(inputs.index_select(0, longest_first), lengths[order], batch_first=True)
        begun = _as_torch_has_it([part.index_select(1, longest_first) for part in carried])
        flat, *final = kernel(packed.data, packed.batch_sizes, begun, weights, *settings)
        final = [part.index_select(1, back) for part in final]
        outputs, _ = pad_packed_sequence(packed._replace(data=flat), batch_first=True, total_length=inputs.shape[1])
        outputs = outputs.index_select(0, back)
    return outputs, {name: part[0] for name, part in zip(cell.states, final, strict=True)}


def _as_torch_has_it(carried: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    return carried[0] if len(carried) == 1 else tuple(carried)
