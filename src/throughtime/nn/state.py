"""State trees: what a recurrence carries from step to step, passed in and returned, never hidden in a module.

A tree is a tensor, or a dict, (named) tuple or list of trees; every tensor's first axis is the batch row.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor

State: TypeAlias = (
    Any  # Tensor | dict[str, State] | tuple[State, ...] | list[State]; mypy knows no recursive Any-free tree
)


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """The tree with `function` applied to every tensor, those of a dict in the order of their names."""
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {name: map_state(function, state[name]) for name in sorted(state)}
    parts = [map_state(function, part) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)


def detach(state: State) -> State:
    """The same values, cut off from the gradient: where truncated BPTT truncates."""
    return map_state(Tensor.detach, state)


def in_chunks(
    read: Callable[[Tensor, State], tuple[Tensor, State]],
    inputs: Tensor,
    state: State,
    chunk: int | None,
    cut: Callable[[State], State] = detach,
) -> Tensor:
    """What `read` makes of inputs (batch, time), chunk by chunk -> (batch, time, width): truncated BPTT inside a
    sequence, where each chunk starts from the previous one's state, less the gradient that `cut` removes."""
    outputs: list[Tensor] = []
    for part in inputs.split(chunk or inputs.shape[1], dim=1):
        found, state = read(part, cut(state) if outputs else state)
        outputs.append(found)
    return torch.cat(outputs, dim=1)


def leaves(state: State) -> list[Tensor]:
    """All its tensors, in the order of `map_state`."""
    if isinstance(state, Tensor):
        return [state]
    parts = [state[name] for name in sorted(state)] if isinstance(state, dict) else state
    return [leaf for part in parts for leaf in leaves(part)]


def with_leaves(state: State, tensors: Iterable[Tensor]) -> State:
    """The tree with its tensors replaced by others, in the order of `leaves`."""
    given = iter(tensors)
    return map_state(lambda _: next(given), state)


def replace_rows(state: State, rows: Tensor, fresh: State) -> State:
    """The tree, with the rows where `rows`, (batch,) or (batch, 1), is true taken from a tree of the same shape."""
    pairs = zip(leaves(state), leaves(fresh), strict=True)
    return with_leaves(state, (torch.where(rows.view(-1, *[1] * (old.dim() - 1)), new, old) for old, new in pairs))


def select_rows(state: State, rows: Tensor) -> State:
    """The tree of the given batch rows, in that order; a row may occur several times. `rows`: (chosen,)."""
    return map_state(lambda tensor: tensor.index_select(0, rows), state)
