"""The tensors of one step by name, for the kernels that take and write them."""

from enum import Enum, auto
from typing import NamedTuple


class Role(Enum):
    """What a tensor is to a stage that takes or writes it."""

    GATES = auto()  # the input product
    PRODUCT = auto()  # the recurrent product
    BIAS = auto()  # which is added to it
    VECTOR = auto()  # a further parameter of the cell
    CARRIED = auto()  # a state, or what an earlier stage of the step has made
    LOW = auto()  # its copy for the next product, in the product's dtype
    RUNNING = auto()  # which rows count at this step
    RESETS = auto()  # which rows start afresh at the next
    OLD = auto()  # a state before the step
    INITIAL = auto()  # a state where a row starts afresh
    OUTPUT = auto()  # of a masked step; of others it is the first state
    MATRIX = auto()  # which the engine multiplies by


class Part(NamedTuple):
    """A tensor as a stage sees it: its role, and the name of the state, carried tensor or vector, if it has one."""

    role: Role
    name: str = ""


class Version(NamedTuple):
    """A tensor of the whole step: which part it is, and the stage that made it or has it for itself. Before the first,
    at 0, are the state as the step finds it and what all stages share."""

    part: Part
    stage: int = 0


GATES, PRODUCT, BIAS, OUTPUT = map(Part, (Role.GATES, Role.PRODUCT, Role.BIAS, Role.OUTPUT))
RUNNING, RESETS, MATRIX = map(Part, (Role.RUNNING, Role.RESETS, Role.MATRIX))


def carried(name: str) -> Part:
    """A state, or what an earlier stage has made."""
    return Part(Role.CARRIED, name)
