"""The fast path of every gated cell: compiled stages, and a backward through time arranged by hand.

forward    gates = W x + b for all steps at once; then, step by step, the recurrent product and the compiled stage
backward   step by step in reverse, the compiled derivative and the product that leads to the state before;
           then each weight's gradient as ONE product over all steps

The tensors of all steps are stored one after another, (time, batch, width), and the kernels write into their rows.
Under mixed precision the products are in the lower precision; states, and the sums that make them, stay in the weights'
own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from throughtime import config
from throughtime.nn.cells.base import Cell, CellState, Matrices
from throughtime.nn.engines.compiling import Kind
from throughtime.nn.engines.masks import Masks
from throughtime.nn.engines.replay import Passes, Tapes
from throughtime.nn.engines.routes import ABOVE
from throughtime.nn.engines.stage import Setting, StageKernels, vectors
from throughtime.nn.engines.step import StepKernels
from throughtime.nn.engines.versions import (
    BIAS,
    GATES,
    MATRIX,
    OUTPUT,
    PRODUCT,
    RESETS,
    RUNNING,
    Part,
    Role,
    Version,
    carried,
)
from throughtime.nn.products import column_sums, multiplication
from throughtime.nn.state import replace_rows

_KERNELS: WeakKeyDictionary[Cell, dict[Setting, StepKernels | str]] = WeakKeyDictionary()
_TAPES: WeakKeyDictionary[Cell, Tapes] = WeakKeyDictionary()


def fused(
    cell: Cell, inputs: Tensor, state: CellState, masks: Masks | None, matrices: Matrices
) -> tuple[Tensor, CellState]:
    """Inputs (batch, time, features) and a state -> outputs (batch, time, width) and the state after the last step."""
    gates = cell.project(inputs.transpose(0, 1).contiguous()).contiguous()  # which the kernels expect of all tensors
    state = {name: state[name].to(cell.weight_input.dtype) for name in cell.states}
    initial: CellState = {}
    if masks is not None:
        initial = cell.initial_state(len(inputs))
        state = replace_rows(state, masks.resets[:, 0], initial)
    tensors = {Version(carried(name)): value for name, value in state.items()}
    tensors |= {Version(Part(Role.INITIAL, name)): value.contiguous() for name, value in initial.items()}
    tensors |= {Version(part): vector.contiguous() for part, vector in vectors(cell).items()}
    for place, (matrix, bias) in enumerate(matrices, start=1):
        tensors |= {Version(MATRIX, place): matrix, **({} if bias is None else {Version(BIAS, place): bias})}
    if masks is not None:
        tensors |= {Version(RUNNING): masks.running, Version(RESETS): masks.resets}
    kernels, tapes = _kernels(cell, gates, masks is not None), _TAPES.setdefault(cell, Tapes())
    run = tapes.lend(partial(Run, kernels), [gates, *tensors.values()], kernels.setting)
    outputs, *final = _ThroughTime.apply(run, list(tensors), gates, *tensors.values())
    return outputs.transpose(0, 1), dict(zip(cell.states, final, strict=True))


def _kernels(cell: Cell, gates: Tensor, masked: bool) -> StepKernels:
    """The kernels of a cell, made on first use.

    Raises:
        Mistake: the step can't be compiled, because what it does depends on values, say, or the compiler fails; it is
            not tried again.
    """
    dtype, device = cell.weight_input.dtype, gates.device.type
    lower = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype
    setting = Setting(gates.device, gates.dtype, lower, dtype, masked, learning=torch.is_grad_enabled())
    known = _KERNELS.setdefault(cell, {})
    kernels = known.get(setting)
    if isinstance(kernels, str):
        raise config.Mistake(kernels)
    try:
        kernels = known[setting] = kernels or StepKernels(cell, setting)
    except RuntimeError as error:
        name, reason = type(cell).__name__, str(error).strip().partition("\n")[0]
        mistake = config.wrong("engine", "fused", f"loop for {name}, whose step can't be compiled: {reason}")
        known[setting] = str(mistake)  # the error itself would keep the cell alive for ever
        raise mistake from error
    return kernels


class _ThroughTime(torch.autograd.Function):
    """What autograd sees of a run."""

    @staticmethod
    def forward(ctx: Any, run: Passes, versions: list[Version], gates: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.run = run
        return run.forward(gates, dict(zip(versions, tensors, strict=True)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outputs: Tensor, *final: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.run.backward(outputs, final)


class ForwardPlan(NamedTuple):
    """A stage in the forward pass: its kernel and the kernel's arguments at each step, with a gap at `gap` for the
    product; how to compute that, from which operand at each step, and into which of the `products` in turn (empty where
    the stage has no product); and the list in which the kernel's further results are saved."""

    run: Callable[..., Sequence[Tensor]]
    arguments: list[tuple[Tensor, ...]]
    multiply: Callable[[Tensor], Tensor] | None
    operands: Sequence[Tensor]
    products: list[Tensor]
    gap: int
    saved: list[Sequence[Tensor]]


class BackwardPlan(NamedTuple):
    """A stage in the backward pass: its kernel, what was saved for it and where it writes at each step, the numbers of
    the gradients that it receives, and those that it sends on: number, slot, the product on the way if any."""

    run: Callable[..., Sequence[Tensor]]
    saved: list[tuple[Tensor, ...]]
    slots: list[tuple[Tensor, ...]]
    sources: list[int]
    flows: list[tuple[int, int, Callable[[Tensor], Tensor] | None]]


class Run:
    """One run through time. `_stacks[version]` is a tensor for all steps, `_rows[version][t]` the part for step t;
    `_gradients[stage, slot]` is a stack of what the stage's derivative writes into that slot."""

    def __init__(self, kernels: StepKernels):
        self._kernels, self._learning = kernels, kernels.setting.learning
        self._stages = list(kernels.stages.items())
        self._stacks: dict[Version, Tensor] = {}
        self._rows: dict[Version, Any] = {}
        self._gradients: dict[tuple[int, int], Tensor] = {}
        self._saved: dict[int, list[Sequence[Tensor]]] = {}

    # forward ---------------------------------------------------------------------------------------------------------

    def forward(self, gates: Tensor, given: dict[Version, Tensor]) -> tuple[Tensor, ...]:
        """Outputs (time, batch, width) and the state tensors after the last step."""
        self._gates, self._given = gates, given
        self._steps, self._batch = gates.shape[:2]
        self._lay_out()
        plans = [self._forward_plan(place, stage) for place, stage in self._stages]
        for time in range(self._steps):
            for run, columns, multiply, operands, products, gap, saved in plans:
                arguments = list(columns[time])
                if multiply is not None:
                    arguments[gap] = products[time % len(products)] = multiply(operands[time])
                further = run(arguments)
                if self._learning:
                    saved.append(further)
        final = [self._stacks[Version(carried(name))][-1].clone() for name in self._kernels.states]
        return self._outputs(), *final

    def _outputs(self) -> Tensor:
        """A new tensor object: autograd ties it to this run, which would never be freed if it held that object, too."""
        if self._kernels.setting.masked:
            return self._stacks[Version(OUTPUT, len(self._stages))].detach()
        return self._stacks[Version(self._kernels.output)][1:]

    def _lay_out(self) -> None:
        """Rows for everything that a step takes or writes."""
        self._rows = {version: [tensor] * self._steps for version, tensor in self._given.items()}
        self._rows[Version(GATES)] = self._gates.unbind(0)
        if self._kernels.setting.masked:
            running, resets = self._given[Version(RUNNING)], self._given[Version(RESETS)]
            later = torch.cat([resets[:, 1:], torch.zeros_like(resets[:, :1])], dim=1)
            self._rows[Version(RUNNING)] = running.t()[..., None].contiguous().unbind(0)
            self._rows[Version(RESETS)] = later.t()[..., None].contiguous().unbind(0)
        for place, stage in self._stages:
            lasting = self._learning and stage.saves_product
            self._rows[Version(PRODUCT, place)] = [self._gates] * (self._steps if lasting else 1)
            for part, kind in stage.writes.items():
                if stage.last and part != OUTPUT:
                    self._lay_out_state(part, kind, place)
                else:
                    stack = self._stacks[Version(part, place)] = self._empty(kind, self._steps)
                    self._rows[Version(part, place)] = stack.unbind(0)

    def _lay_out_state(self, part: Part, kind: Kind, place: int) -> None:
        """One stack for before and after: what a step finds is what the previous step left."""
        stack = self._stacks[Version(part)] = self._empty(kind, self._steps + 1)
        stack[0] = self._given[Version(carried(part.name))]
        rows = stack.unbind(0)
        self._rows[Version(part)], self._rows[Version(part, place)] = rows[:-1], rows[1:]

    def _empty(self, kind: Kind, steps: int) -> Tensor:
        by_row, width, dtype = kind
        return self._gates.new_empty((steps, self._batch, width) if by_row else (steps, width), dtype=dtype)

    def _forward_plan(self, place: int, stage: StageKernels) -> ForwardPlan:
        run = self._kernels.forward[place].run
        versions = [*self._kernels.writes[place], *self._kernels.takes[place]]
        product = Version(PRODUCT, place)
        gaps = [None] * self._steps
        columns = list(zip(*(gaps if it == product else self._rows[it] for it in versions), strict=True))
        saved = self._saved[place] = []
        if stage.operand is None:
            return ForwardPlan(run, columns, None, (), [], 0, saved)
        multiply = multiplication(self._matrix(place), self._batch)
        operands = self._rows[self._kernels.operands[place]]
        return ForwardPlan(run, columns, multiply, operands, self._rows[product], versions.index(product), saved)

    def _matrix(self, place: int) -> Tensor:
        return self._given[Version(MATRIX, place)].to(self._kernels.setting.product)

    # backward --------------------------------------------------------------------------------------------------------

    def backward(self, outputs: Tensor, final: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """The gradients of the gates and of everything given, in the order given."""
        above = list(outputs.contiguous().unbind(0))
        if not self._kernels.setting.masked:
            above[-1] = above[-1] + final[0]
        gradients, nothing = self._boundary(final)
        plans = [self._backward_plan(place, stage) for place, stage in reversed(self._stages)]
        for time in reversed(range(self._steps)):
            gradients[ABOVE] = above[time]
            for run, columns, slots, sources, flows in plans:
                written = slots[time]
                run([*written, *columns[time], *[gradients[number] for number in sources]])
                for number, slot, multiply in flows:
                    gradients[number] = written[slot] if multiply is None else multiply(written[slot])
            gradients |= nothing
        found = self._beyond_the_recurrence()
        for name, ending in self._kernels.routes.boundary.items():
            if ending:
                found[Version(carried(name))] = torch.stack([gradients[number] for number, _ in ending]).sum(0)
        return found.get(Version(GATES)), *(found.get(version) for version in self._given)

    def _boundary(self, final: Sequence[Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """By number: the gradients that the last step receives, those of the final states and zeros elsewhere; and the
        zeros that every other step receives under the unused numbers."""
        routes, state = self._kernels.routes, self._kernels.setting.state
        gradients = {
            number: self._gates.new_zeros((self._batch, stage.writes[part][1]), dtype=dtype)
            for place, stage in self._stages
            for part, sources in routes.sources[place].items()
            for number, dtype in sources
        }
        nothing = {number: zeros for number, zeros in gradients.items() if number >= routes.unused}
        last = routes.sources[len(self._stages)]
        for name, gradient in zip(self._kernels.states, final, strict=True):
            if carried(name) != self._kernels.output:
                number, dtype = max(last[carried(name)], key=lambda source: source.dtype == state)  # the most exact one
                gradients[number] = gradient.to(dtype).contiguous()
        return gradients, nothing

    def _backward_plan(self, place: int, stage: StageKernels) -> BackwardPlan:
        takes, writes, kernel = self._kernels.takes[place], self._kernels.writes[place], self._kernels.backward[place]
        further = zip(*self._saved[place], strict=True)
        rows = {-1 - len(writes) - at: column for at, column in enumerate(further)}
        rows |= {-1 - at: self._rows[version] for at, version in enumerate(writes)}
        rows |= {at: self._rows[version] for at, version in enumerate(takes)}
        routes = self._kernels.routes
        columns = list(zip(*(rows[at] for at in stage.derived.saved), strict=True)) or [()] * self._steps
        slots = list(zip(*(self._slot(place, stage, slot) for slot in range(len(kernel.kinds))), strict=True))
        sources = [number for arriving in routes.sources[place].values() for number, _ in arriving]
        transposed = None if stage.operand is None else multiplication(self._matrix(place).t(), self._batch)
        sent = zip(routes.sent[place], stage.flows, strict=True)
        flows = [(number, flow.slot, transposed if flow.by_product else None) for (number, _), flow in sent]
        return BackwardPlan(kernel.run, columns, slots, sources, flows)

    def _slot(self, place: int, stage: StageKernels, slot: int) -> Sequence[Tensor]:
        """Rows to write gradients into, one per step; or two that take turns, for a gradient that only flows on to
        carried tensors, so that no later product or sum reads all its steps."""
        kind = self._kernels.backward[place].kinds[slot]
        flowing = [flow.slot for flow in stage.flows if not flow.by_product]
        reached = list(stage.reached.values())
        if slot in flowing and reached.count(slot) == flowing.count(slot):
            turns = self._empty(kind, 2).unbind(0)
            return [turns[time % 2] for time in range(self._steps)]
        stack = self._gradients[place, slot] = self._empty(kind, self._steps)
        return stack.unbind(0)

    def _beyond_the_recurrence(self) -> dict[Version, Tensor]:
        """The gradients of the gates, and of what all steps share, these by one product or sum over the steps."""
        found: dict[Version, Tensor] = {}
        for place, stage in self._stages:
            for part, slot in stage.reached.items():
                gradient = self._gradients.get((place, slot))
                if gradient is None:
                    continue
                if part == PRODUCT:
                    found |= self._of_matrix(place, gradient)
                elif part.role in (Role.GATES, Role.VECTOR, Role.INITIAL):
                    version, total = Version(part), gradient if part == GATES else gradient.sum(0)
                    found[version] = found[version] + total if version in found else total
        return found

    def _of_matrix(self, place: int, gradient: Tensor) -> dict[Version, Tensor]:
        operands = self._stacks[self._kernels.operands[place]][: self._steps].flatten(0, 1)
        flat, state = gradient.flatten(0, 1), self._kernels.setting.state
        weight, bias = torch.mm(flat.t(), operands).to(state), column_sums(flat).to(state)
        return {Version(MATRIX, place): weight, Version(BIAS, place): bias}
