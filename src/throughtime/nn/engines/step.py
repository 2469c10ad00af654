"""One step of a cell as kernels: what each stage takes and writes, and where each gradient goes."""

import weakref
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import torch
from torch import Tensor

from throughtime.nn.cells.base import Cell, CellState
from throughtime.nn.engines import compiling, deriving
from throughtime.nn.engines.compiling import Kernel, Kind
from throughtime.nn.engines.deriving import Derived
from throughtime.nn.engines.versions import BIAS, GATES, OUTPUT, PRODUCT, RESETS, RUNNING, Part, Role, Version, carried

Incoming = tuple[int, torch.dtype]  # a gradient on its way to a carried tensor: the number it goes by, and its dtype
ABOVE = 0  # the number of the gradient from the layer above


@dataclass(frozen=True)
class Setting:
    """What the kernels of a cell depend on, besides the cell."""

    device: torch.device
    gates: torch.dtype  # of the input product
    product: torch.dtype  # of the recurrent products
    state: torch.dtype
    masked: bool  # some steps may not count, and rows may restart


def vectors(cell: Cell) -> dict[Part, Tensor]:
    """The cell's further parameters."""
    return {Part(Role.VECTOR, name): value for name, value in zip(cell.vectors, cell.vector_values(), strict=True)}


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
        self.sources: dict[Part, list[Incoming]] = {}
        self.first = 0  # the number of the first of the `flows`; the others' follow

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
    def flows(self) -> list[tuple[Part, int, bool]]:
        """The carried tensors that gradients flow on to: the tensor, the slot, and whether by way of the product."""
        onward = [(part, slot, False) for part, slot in self.reached.items() if part.role in (Role.CARRIED, Role.OLD)]
        if self.operand is None or PRODUCT not in self.reached:
            return onward
        return [(carried(self.operand), self.reached[PRODUCT], True), *onward]

    @cached_property
    def alone(self) -> Kernel:
        """The forward kernel where no gradient is wanted: takes -> writes."""
        return compiling.kernel(self._function, self._stand_ins)

    @cached_property
    def forward(self) -> Kernel:
        """Takes -> writes, then what else the backward kernel needs."""
        return compiling.kernel(self.derived.forward, self._stand_ins, slots=len(self.writes))

    @cached_property
    def backward(self) -> Kernel:
        """What was saved, then the sources of each result's gradient -> the gradients in the slots of `reached`."""
        takes, results = compiling.kinds_of(self._stand_ins), self.forward.kinds
        saved = [takes[place] if place >= 0 else results[-1 - place] for place in self.derived.saved]
        sources = [(*self.writes[part][:2], dtype) for part in self.differentiated for _, dtype in self.sources[part]]
        stand_ins = [compiling.like(kind, self._stand_ins) for kind in [*saved, *sources]]
        return compiling.kernel(self._summed_backward, stand_ins)

    def _summed_backward(self, *tensors: Tensor) -> Sequence[Tensor]:
        saved, sources = tensors[: len(self.derived.saved)], iter(tensors[len(self.derived.saved) :])
        gradients = [self._sum([next(sources) for _ in self.sources[part]]) for part in self.differentiated]
        found: Sequence[Tensor] = self.derived.backward(*saved, *gradients)
        return found

    def _sum(self, parts: list[Tensor]) -> Tensor:
        total = parts[0].to(self._setting.state)
        for part in parts[1:]:
            total = total + part
        return total


class StepKernels:
    """The stages of a cell's step in order, counted from 1.

    takes, writes, operands: by stage, the versions of what it takes and writes, and of what its product multiplies.
    """

    def __init__(self, cell: Cell, setting: Setting):
        self.states, self.setting = cell.states, setting
        self.unused = ABOVE + 1  # the first number of no flow; nothing flows by it or any after it
        known: dict[str, Kind] = {name: (True, size, setting.state) for name, size in cell.sizes.items()}
        self.stages: list[StageKernels] = []
        for place in range(len(cell.stages())):
            kernels = StageKernels(cell, place, setting, dict(known))
            self.stages.append(kernels)
            known |= {part.name: kernels.writes[part] for part in kernels.differentiated if part != OUTPUT}
        self.output = OUTPUT if setting.masked else carried(cell.states[0])
        self.takes: dict[int, list[Version]] = {}
        self.writes: dict[int, list[Version]] = {}
        self.operands: dict[int, Version] = {}
        self._number_versions()
        self.boundary: dict[str, list[Incoming]] = {}  # the gradients that a step leaves for each state before it

    def compile(self, learning: bool) -> None:
        """Compiles the kernels that a run needs, unless that has been done.

        Raises:
            RuntimeError: what the step does can't be compiled.
        """
        if learning and not self.boundary:
            self.boundary = self._routed()
        for stage in self.stages:
            _ = (stage.forward, stage.backward) if learning else stage.alone

    def _number_versions(self) -> None:
        latest: defaultdict[Part, int] = defaultdict(int)
        role = Role.LOW if self.setting.product != self.setting.state else Role.CARRIED
        for place, stage in enumerate(self.stages, start=1):
            self.takes[place] = [self._version(part, place, latest) for part in stage.takes]
            if stage.operand is not None:
                self.operands[place] = self._version(Part(role, stage.operand), place, latest)
            latest |= dict.fromkeys(stage.writes, place)
            self.writes[place] = [Version(part, place) for part in stage.writes]

    @staticmethod
    def _version(part: Part, place: int, latest: dict[Part, int]) -> Version:
        if part in (PRODUCT, BIAS):
            return Version(part, place)
        return Version(carried(part.name)) if part.role is Role.OLD else Version(part, latest[part])

    def _routed(self) -> dict[str, list[Incoming]]:
        """The boundary; also sets the sources of every stage. It depends only on which gradients leave the stages, so a
        first walk with nothing arriving from the next step finds it, for a second walk with that arriving."""
        for stage in reversed(self.stages):
            stage.first, self.unused = self.unused, self.unused + len(stage.flows)
        return self._walk(self._walk({}))

    def _walk(self, boundary: dict[str, list[Incoming]]) -> dict[str, list[Incoming]]:
        waiting = defaultdict(list, {carried(name): list(sources) for name, sources in boundary.items()})
        state, product, unused = self.setting.state, self.setting.product, count(self.unused)
        for stage in reversed(self.stages):
            for part in stage.differentiated:
                above = [(ABOVE, state)] if stage.last and part == self.output else []
                stage.sources[part] = [*waiting.pop(part, []), *above] or [(next(unused), state)]
            for number, (part, _, through) in enumerate(stage.flows, start=stage.first):
                waiting[part].append((number, product if through else state))
        return {name: [*waiting[carried(name)], *waiting[Part(Role.OLD, name)]] for name in self.states}
