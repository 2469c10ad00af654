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
from throughtime.nn.engines import graphs
from throughtime.nn.engines.graphs import Derived, Kernel, Kind

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


class StageKernels:
    """The kernels of one stage, and the names of what they take and write.

    Besides the carried tensors a stage takes `gates`, `product`, `bias` and `vector <place>`; the last one, where
    masked, also `running`, `resets` (of the next step), and for each state `old <state>` (its value before the step)
    and `initial <state>`. Besides carried tensors it writes `low <name>`, a copy for the next product in the product's
    dtype, and, where masked, the last one writes the `output`, which then is not the first state itself.
    """

    def __init__(self, cell: Cell, place: int, setting: Setting, carried: dict[str, Kind]):
        stages, (matrix, bias) = cell.stages(), cell.matrices()[place]
        self._cell, self._place, self._setting = weakref.proxy(cell), place, setting  # lets the cell be freed
        self._rows, self._biased = len(matrix), bias is not None
        self._then = stages[(place + 1) % len(stages)].operand
        self.operand, self.last = stages[place].operand, place == len(stages) - 1
        self.masked = self.last and setting.masked
        self._carried = list(carried)
        kinds = self._taken(carried)
        self.takes = list(kinds)
        self._stand_ins = graphs.stand_ins(list(kinds.values()), setting.device)
        results = self._results(dict(zip(self.takes, self._stand_ins, strict=True)))
        self.writes = dict(zip(results, graphs.kinds_of(list(results.values())), strict=True))
        self.differentiated = [name for name in self.writes if not name.startswith("low ")]
        self.sources: dict[str, list[Incoming]] = {}
        self.first = 0  # the number of the first of the `flows`; the others' follow

    def _taken(self, carried: dict[str, Kind]) -> dict[str, Kind]:
        cell, setting = self._cell, self._setting
        kinds: dict[str, Kind] = {"gates": (True, cell.projected, setting.gates), **carried}
        if self.operand is not None:
            kinds |= {"product": (True, self._rows, setting.product)}
            kinds |= {"bias": (False, self._rows, setting.state)} if self._biased else {}
        values = cell.vector_values()
        kinds |= {f"vector {place}": (False, len(value), value.dtype) for place, value in enumerate(values)}
        if self.masked:
            kinds |= {"running": (True, 1, torch.bool), "resets": (True, 1, torch.bool)}
            for name, size in cell.sizes.items():
                kinds |= {f"old {name}": (True, size, setting.state), f"initial {name}": (True, size, setting.state)}
        return kinds

    def _function(self, *tensors: Tensor) -> list[Tensor]:
        return list(self._results(dict(zip(self.takes, tensors, strict=True))).values())

    def _results(self, given: dict[str, Tensor]) -> CellState:
        dtype = self._setting.state
        carried = {name: given[name] for name in self._carried}
        product = None if self.operand is None else given["product"].to(dtype)
        if product is not None and "bias" in given:
            product = product + given["bias"]
        vectors = [given[f"vector {place}"] for place in range(len(self._cell.vectors))]
        results = self._cell.stages()[self._place].function(given["gates"].to(dtype), product, carried, *vectors)
        if self.last:
            results = {name: (carried | results)[name] for name in self._cell.states}
        if self.masked:
            results = self._settled(results, given)
        if self._then is not None and self._setting.product != dtype:
            results = {**results, f"low {self._then}": (carried | results)[self._then].to(self._setting.product)}
        return results

    def _settled(self, state: CellState, given: dict[str, Tensor]) -> CellState:
        """The state as the next step finds it, and the output separately."""
        output = torch.where(given["running"], state[self._cell.states[0]], 0.0)
        kept = {name: torch.where(given["running"], state[name], given[f"old {name}"]) for name in state}
        anew = {name: torch.where(given["resets"], given[f"initial {name}"], kept[name]) for name in state}
        return {**anew, "output": output}

    @cached_property
    def derived(self) -> Derived:
        """The traced function and derivative."""
        fixed = {"bias", "running", "resets"}
        differentiable = [name not in fixed for name in self.takes]
        return graphs.derive(self._function, self._stand_ins, differentiable, len(self.differentiated))

    @property
    def saves_product(self) -> bool:
        """Whether the derivative needs the product itself."""
        return "product" in self.takes and self.takes.index("product") in self.derived.saved

    @cached_property
    def reached(self) -> dict[str, int]:
        """What the backward kernel writes the gradient of, and into which slot."""
        return {self.takes[place]: slot for place, slot in self.derived.reached.items()}

    @cached_property
    def flows(self) -> list[tuple[str, int, bool]]:
        """The carried tensors that gradients flow on to: the tensor, the slot, and whether by way of the product."""
        carried = [name for name in self.reached if name in self._carried or name.startswith("old ")]
        through = [(self.operand, self.reached["product"], True)] if self.operand and "product" in self.reached else []
        return [*through, *((name, self.reached[name], False) for name in carried)]

    @cached_property
    def alone(self) -> Kernel:
        """The forward kernel where no gradient is wanted: takes -> writes."""
        return graphs.kernel(self._function, self._stand_ins)

    @cached_property
    def forward(self) -> Kernel:
        """Takes -> writes, then what else the backward kernel needs."""
        return graphs.kernel(self.derived.forward, self._stand_ins, slots=len(self.writes))

    @cached_property
    def backward(self) -> Kernel:
        """What was saved, then the sources of each result's gradient -> the gradients in the slots of `reached`."""
        takes, results = graphs.kinds_of(self._stand_ins), self.forward.kinds
        saved = [takes[place] if place >= 0 else results[-1 - place] for place in self.derived.saved]
        sources = [(*self.writes[name][:2], dtype) for name in self.differentiated for _, dtype in self.sources[name]]
        stand_ins = [graphs.like(kind, self._stand_ins) for kind in [*saved, *sources]]
        return graphs.kernel(self._summed_backward, stand_ins)

    def _summed_backward(self, *tensors: Tensor) -> Sequence[Tensor]:
        saved, sources = tensors[: len(self.derived.saved)], iter(tensors[len(self.derived.saved) :])
        gradients = [self._sum([next(sources) for _ in self.sources[name]]) for name in self.differentiated]
        found: Sequence[Tensor] = self.derived.backward(*saved, *gradients)
        return found

    def _sum(self, parts: list[Tensor]) -> Tensor:
        total = parts[0].to(self._setting.state)
        for part in parts[1:]:
            total = total + part
        return total


class StepKernels:
    """The stages of a cell's step in order.

    takes, writes: for each stage the tensors by name and version; `h@0` is the state before the step, `h@2` what the
    second stage made of it. A product and a bias belong to their stage alone: `product 2`.
    """

    def __init__(self, cell: Cell, setting: Setting):
        self.states, self.setting = cell.states, setting
        self.unused = ABOVE + 1  # the first number of no flow; nothing flows by it or any after it
        carried: dict[str, Kind] = {name: (True, size, setting.state) for name, size in cell.sizes.items()}
        self.stages: list[StageKernels] = []
        for place in range(len(cell.stages())):
            kernels = StageKernels(cell, place, setting, dict(carried))
            self.stages.append(kernels)
            carried |= {name: kernels.writes[name] for name in kernels.differentiated if name != "output"}
        self.output = "output" if setting.masked else cell.states[0]
        self.takes, self.writes, self.operands = self._versions()
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

    def _versions(self) -> tuple[list[list[str]], list[list[str]], list[str]]:
        latest: defaultdict[str, int] = defaultdict(int)
        takes, writes, operands = [], [], []
        low = "low " if self.setting.product != self.setting.state else ""
        for place, stage in enumerate(self.stages, start=1):
            takes.append([self._version(name, place, latest) for name in stage.takes])
            operands.append(f"{low}{stage.operand}@{latest[f'{low}{stage.operand}']}")
            latest |= dict.fromkeys(stage.writes, place)
            writes.append([f"{name}@{place}" for name in stage.writes])
        return takes, writes, operands

    @staticmethod
    def _version(name: str, place: int, latest: dict[str, int]) -> str:
        if name in ("product", "bias"):
            return f"{name} {place}"
        return f"{name.removeprefix('old ')}@0" if name.startswith("old ") else f"{name}@{latest[name]}"

    def _routed(self) -> dict[str, list[Incoming]]:
        """The boundary; also sets the sources of every stage. It depends only on which gradients leave the stages, so a
        first walk with nothing arriving from the next step finds it, for a second walk with that arriving."""
        for stage in reversed(self.stages):
            stage.first, self.unused = self.unused, self.unused + len(stage.flows)
        return self._walk(self._walk({}))

    def _walk(self, boundary: dict[str, list[Incoming]]) -> dict[str, list[Incoming]]:
        waiting = defaultdict(list, {name: list(sources) for name, sources in boundary.items()})
        state, product, unused = self.setting.state, self.setting.product, count(self.unused)
        for stage in reversed(self.stages):
            for name in stage.differentiated:
                above = [(ABOVE, state)] if stage.last and name == self.output else []
                stage.sources[name] = [*waiting.pop(name, []), *above] or [(next(unused), state)]
            for number, (name, _, through) in enumerate(stage.flows, start=stage.first):
                waiting[name].append((number, product if through else state))
        return {name: [*waiting[name], *waiting[f"old {name}"]] for name in self.states}
