"""One stage of a cell's step as kernels: what it takes and writes, and its derivative."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState
from throughtime.nn.engines import compiling, deriving
from throughtime.nn.engines.compiling import Kernel, Kind
from throughtime.nn.engines.deriving import Derived
from throughtime.nn.engines.versions import BIAS, GATES, OUTPUT, PRODUCT, RESETS, RUNNING, Part, Role, carried


@dataclass(frozen=True)
class Setting:
    """What the kernels of a cell depend on, besides the cell."""

    device: torch.device
    gates: torch.dtype  # of the input product
    product: torch.dtype  # of the recurrent products
    state: torch.dtype
    masked: bool  # some steps may not count, and rows may restart
    learning: bool  # a backward pass may follow


def vectors(cell: Cell) -> dict[Part, Tensor]:
    """The cell's further parameters."""
    return {Part(Role.VECTOR, name): value for name, value in zip(cell.vectors, cell.vector_values(), strict=True)}


class Flow(NamedTuple):
    """A gradient that a stage sends on: to which carried tensor, from which slot, and whether by way of the product."""

    part: Part
    slot: int
    dtype: torch.dtype
    by_product: bool


class Incoming(NamedTuple):
    """A gradient on its way to a carried tensor: the number it goes by, and its dtype."""

    number: int
    dtype: torch.dtype


Sources = dict[Part, list[Incoming]]  # what arrives at each of a stage's results; their sum is its gradient


class StageKernels:
    """The kernels of one stage, and the parts that they take and write.

    The last stage of a masked step, and no other, takes the masks and every state `OLD` and `INITIAL`.
    """

    def __init__(self, cell: Cell, place: int, setting: Setting, known: dict[str, Kind]):
        """`known`: the tensors carried so far, by name."""
        stages, (matrix, bias) = cell.stages(), cell.matrices()[place]
        self._cell, self._place, self._setting = weakref.proxy(cell), place, setting  # lets the cell be freed
        self._rows, self._biased = len(matrix), bias is not None
        self._then = stages[(place + 1) % len(stages)].operand
        self.operand, self.last = stages[place].operand, place == len(stages) - 1
        self.masked = self.last and setting.masked
        self._known = list(known)
        kinds = self._taken(cell, known)
        self.takes = list(kinds)
        self._stand_ins = compiling.stand_ins(list(kinds.values()), setting.device)
        results = self._results(dict(zip(self.takes, self._stand_ins, strict=True)))
        self.writes = dict(zip(results, compiling.kinds_of(list(results.values())), strict=True))
        self.differentiated = [part for part in self.writes if part.role is not Role.LOW]

    def _taken(self, cell: Cell, known: dict[str, Kind]) -> dict[Part, Kind]:
        setting = self._setting
        kinds: dict[Part, Kind] = {GATES: (True, cell.projected, setting.gates)}
        kinds |= {carried(name): kind for name, kind in known.items()}
        if self.operand is not None:
            kinds |= {PRODUCT: (True, self._rows, setting.product)}
            kinds |= {BIAS: (False, self._rows, setting.state)} if self._biased else {}
        kinds |= {part: (False, len(value), value.dtype) for part, value in vectors(cell).items()}
        if self.masked:
            kinds |= {RUNNING: (True, 1, torch.bool), RESETS: (True, 1, torch.bool)}
            for name, size in cell.sizes.items():
                kinds |= {Part(role, name): (True, size, setting.state) for role in (Role.OLD, Role.INITIAL)}
        return kinds

    def _function(self, *tensors: Tensor) -> list[Tensor]:
        return list(self._results(dict(zip(self.takes, tensors, strict=True))).values())

    def _results(self, given: dict[Part, Tensor]) -> dict[Part, Tensor]:
        known = {name: given[carried(name)] for name in self._known}
        made = self._made(given, known)
        if self.last:
            made = {name: (known | made)[name] for name in self._cell.states}
        output = {}
        if self.masked:
            output = {OUTPUT: torch.where(given[RUNNING], made[self._cell.states[0]], 0.0)}
            made = {name: self._settled(name, value, given) for name, value in made.items()}
        results = {carried(name): value for name, value in made.items()} | output
        if self._then is not None and self._setting.product != self._setting.state:
            results[Part(Role.LOW, self._then)] = (known | made)[self._then].to(self._setting.product)
        return results

    def _made(self, given: dict[Part, Tensor], known: CellState) -> CellState:
        """What the cell's own function returns."""
        dtype = self._setting.state
        product = None if self.operand is None else given[PRODUCT].to(dtype)
        if product is not None and BIAS in given:
            product = product + given[BIAS]
        vectors = [given[part] for part in self.takes if part.role is Role.VECTOR]
        return self._cell.stages()[self._place].function(given[GATES].to(dtype), product, known, *vectors)

    def _settled(self, name: str, value: Tensor, given: dict[Part, Tensor]) -> Tensor:
        """A state as the next step finds it."""
        kept = torch.where(given[RUNNING], value, given[Part(Role.OLD, name)])
        return torch.where(given[RESETS], given[Part(Role.INITIAL, name)], kept)

    @cached_property
    def derived(self) -> Derived:
        """The traced function and derivative."""
        differentiable = [part not in (BIAS, RUNNING, RESETS) for part in self.takes]
        return deriving.derive(self._function, self._stand_ins, differentiable, len(self.differentiated))

    @property
    def saves_product(self) -> bool:
        """Whether the derivative needs the product itself."""
        return PRODUCT in self.takes and self.takes.index(PRODUCT) in self.derived.saved

    @cached_property
    def reached(self) -> dict[Part, int]:
        """What the backward kernel writes the gradient of, and into which slot."""
        return {self.takes[place]: slot for place, slot in self.derived.reached.items()}

    @cached_property
    def flows(self) -> list[Flow]:
        """The gradients that go on to carried tensors."""
        setting, found = self._setting, []
        if self.operand is not None and PRODUCT in self.reached:
            found.append(Flow(carried(self.operand), self.reached[PRODUCT], setting.product, by_product=True))
        for part, slot in self.reached.items():
            if part.role in (Role.CARRIED, Role.OLD):
                found.append(Flow(part, slot, setting.state, by_product=False))
        return found

    @cached_property
    def alone(self) -> Kernel:
        """The forward kernel where no gradient is wanted: takes -> writes."""
        return compiling.kernel(self._function, self._stand_ins)

    @cached_property
    def forward(self) -> Kernel:
        """Takes -> writes, then what else the backward kernel needs."""
        return compiling.kernel(self.derived.forward, self._stand_ins, slots=len(self.writes))

    def backward(self, sources: Sources) -> Kernel:
        """Compiles: what was saved, then the sources of each result's gradient -> the gradients in the slots of
        `reached`."""
        takes, results = compiling.kinds_of(self._stand_ins), self.forward.kinds
        saved = [takes[place] if place >= 0 else results[-1 - place] for place in self.derived.saved]
        arriving = [(*self.writes[part][:2], dtype) for part, incoming in sources.items() for _, dtype in incoming]
        stand_ins = [compiling.like(kind, self._stand_ins) for kind in [*saved, *arriving]]

        def summed_backward(*tensors: Tensor) -> Sequence[Tensor]:
            rest = iter(tensors[len(saved) :])
            gradients = [self._sum([next(rest) for _ in incoming]) for incoming in sources.values()]
            found: Sequence[Tensor] = self.derived.backward(*tensors[: len(saved)], *gradients)
            return found

        return compiling.kernel(summed_backward, stand_ins)

    def _sum(self, parts: list[Tensor]) -> Tensor:
        total = parts[0].to(self._setting.state)
        for part in parts[1:]:
            total = total + part
        return total
