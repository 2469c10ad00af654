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
from itertools import repeat
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from throughtime import config
from throughtime.nn.cells.base import Cell, CellState, Matrices
from throughtime.nn.engines import graphs
from throughtime.nn.engines.graphs import Kind
from throughtime.nn.engines.masks import Masks
from throughtime.nn.engines.once import tell_once
from throughtime.nn.engines.replay import Passes, Tapes
from throughtime.nn.engines.step import ABOVE, Setting, StageKernels, StepKernels
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
    tensors = {f"{name}@0": part for name, part in state.items()}
    tensors |= {f"initial {name}@0": part.contiguous() for name, part in initial.items()}
    tensors |= {f"vector {place}@0": vector.contiguous() for place, vector in enumerate(cell.vector_values())}
    for place, (matrix, bias) in enumerate(matrices, start=1):
        tensors |= {f"matrix {place}": matrix, **({} if bias is None else {f"bias {place}": bias})}
    if masks is not None:
        tensors |= {"running": masks.running, "resets": masks.resets}
    kernels, learning = _kernels(cell, gates, masks is not None), torch.is_grad_enabled()
    tapes, kind = _TAPES.setdefault(cell, Tapes()), (kernels.setting, learning)
    run = tapes.lend(partial(Run, kernels, learning), [gates, *tensors.values()], kind)
    outputs, *final = _ThroughTime.apply(run, list(tensors), gates, *tensors.values())
    return outputs.transpose(0, 1), dict(zip(cell.states, final, strict=True))


def why_not_fused(device: torch.device) -> str | None:
    """Why this engine cannot run on a device (reported once), or None where it can."""
    reason = graphs.why_not_compiled(device)
    if reason:
        tell_once(f"engine=fused: {reason}, so engine=loop takes its place")
    return reason


def _kernels(cell: Cell, gates: Tensor, masked: bool) -> StepKernels:
    """The kernels of a cell, made on first use.

    Raises:
        Mistake: the step can't be compiled, because what it does depends on values, say, or the compiler fails; it is
            not tried again.
    """
    dtype, device = cell.weight_input.dtype, gates.device.type
    lower = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else dtype
    setting = Setting(gates.device, gates.dtype, lower, dtype, masked)
    known = _KERNELS.setdefault(cell, {})
    kernels = known.get(setting)
    if isinstance(kernels, str):
        raise config.Mistake(kernels)
    try:
        kernels = known[setting] = kernels or StepKernels(cell, setting)
        kernels.compile(torch.is_grad_enabled())
    except RuntimeError as error:
        name, reason = type(cell).__name__, str(error).strip().partition("\n")[0]
        mistake = config.wrong("engine", "fused", f"loop for {name}, whose step can't be compiled: {reason}")
        known[setting] = str(mistake)  # the error itself would keep the cell alive for ever
        raise mistake from error
    return kernels


class _ThroughTime(torch.autograd.Function):
    """What autograd sees of a run."""

    @staticmethod
    def forward(ctx: Any, run: Passes, names: list[str], gates: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.run = run
        return run.forward(gates, dict(zip(names, tensors, strict=True)))

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
    """One run through time. `_stacks[name]` is a tensor for all steps, `_rows[name][t]` the part for step t."""

    def __init__(self, kernels: StepKernels, learning: bool):
        self._kernels, self._learning = kernels, learning
        self._stages = list(enumerate(kernels.stages, start=1))
        self._stacks: dict[str, Tensor] = {}
        self._rows: dict[str, Any] = {}
        self._saved: dict[int, list[Sequence[Tensor]]] = {}

    # forward ---------------------------------------------------------------------------------------------------------

    def forward(self, gates: Tensor, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
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
        final = [self._stacks[f"{name}@0"][-1].clone() for name in self._kernels.states]
        return self._outputs(), *final

    def _outputs(self) -> Tensor:
        """A new tensor object: autograd ties it to this run, which would never be freed if it held that object, too."""
        if self._kernels.setting.masked:
            return self._stacks[f"output@{len(self._stages)}"].detach()
        return self._stacks[f"{self._kernels.output}@0"][1:]

    def _lay_out(self) -> None:
        """Rows for everything that a step takes or writes."""
        self._rows = {name: repeat(tensor) for name, tensor in self._given.items()}
        self._rows["gates@0"] = self._gates.unbind(0)
        if self._kernels.setting.masked:
            running, resets = self._given["running"], self._given["resets"]
            later = torch.cat([resets[:, 1:], torch.zeros_like(resets[:, :1])], dim=1)
            self._rows["running@0"] = running.t()[..., None].contiguous().unbind(0)
            self._rows["resets@0"] = later.t()[..., None].contiguous().unbind(0)
        for place, stage in self._stages:
            lasting = self._learning and stage.saves_product
            self._rows[f"product {place}"] = [self._gates] * (self._steps if lasting else 1)
            for name, kind in stage.writes.items():
                if stage.last and name.removeprefix("low ") in self._kernels.states:
                    self._lay_out_state(name, kind, place)
                else:
                    self._rows[f"{name}@{place}"] = self._stack(f"{name}@{place}", kind).unbind(0)

    def _lay_out_state(self, name: str, kind: Kind, place: int) -> None:
        """One stack for before and after: what a step finds is what the previous step left."""
        stack = self._stacks[f"{name}@0"] = self._empty(kind, self._steps + 1)
        stack[0] = self._given[f"{name.removeprefix('low ')}@0"]
        rows = stack.unbind(0)
        self._rows[f"{name}@0"], self._rows[f"{name}@{place}"] = rows[:-1], rows[1:]

    def _stack(self, name: str, kind: Kind) -> Tensor:
        self._stacks[name] = self._empty(kind, self._steps)
        return self._stacks[name]

    def _empty(self, kind: Kind, steps: int) -> Tensor:
        by_row, width, dtype = kind
        return self._gates.new_empty((steps, self._batch, width) if by_row else (steps, width), dtype=dtype)

    def _forward_plan(self, place: int, stage: StageKernels) -> ForwardPlan:
        run = (stage.forward if self._learning else stage.alone).run
        names = [*self._kernels.writes[place - 1], *self._kernels.takes[place - 1]]
        product = f"product {place}"
        columns = list(zip(*(repeat(None) if name == product else self._rows[name] for name in names), strict=False))
        saved = self._saved[place] = []
        if stage.operand is None:
            return ForwardPlan(run, columns, None, (), [], 0, saved)
        multiply = multiplication(self._matrix(place), self._batch)
        operands = self._rows[self._kernels.operands[place - 1]]
        return ForwardPlan(run, columns, multiply, operands, self._rows[product], names.index(product), saved)

    def _matrix(self, place: int) -> Tensor:
        return self._given[f"matrix {place}"].to(self._kernels.setting.product)

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
        for name, ending in self._kernels.boundary.items():
            if ending:
                found[f"{name}@0"] = torch.stack([gradients[number] for number, _ in ending]).sum(0)
        return found.get("gates@0"), *(found.get(name) for name in self._given)

    def _boundary(self, final: Sequence[Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """By number: the gradients that the last step receives, those of the final states and zeros elsewhere; and the
        zeros that every other step receives under the unused numbers."""
        last, state = self._kernels.stages[-1], self._kernels.setting.state
        gradients = {
            number: self._gates.new_zeros((self._batch, stage.writes[name][1]), dtype=dtype)
            for stage in self._kernels.stages
            for name, sources in stage.sources.items()
            for number, dtype in sources
        }
        nothing = {number: zeros for number, zeros in gradients.items() if number >= self._kernels.unused}
        for name, gradient in zip(self._kernels.states, final, strict=True):
            if name != self._kernels.output:
                number, dtype = max(last.sources[name], key=lambda source: source[1] == state)  # the most exact one
                gradients[number] = gradient.to(dtype).contiguous()
        return gradients, nothing

    def _backward_plan(self, place: int, stage: StageKernels) -> BackwardPlan:
        takes, writes = self._kernels.takes[place - 1], self._kernels.writes[place - 1]
        further = zip(*self._saved[place], strict=True)
        rows = {-1 - len(writes) - at: column for at, column in enumerate(further)}
        rows |= {-1 - at: self._rows[name] for at, name in enumerate(writes)}
        rows |= {at: self._rows[name] for at, name in enumerate(takes)}
        columns = list(zip(*(rows[at] for at in stage.derived.saved), strict=False)) or [()] * self._steps
        slots = list(zip(*(self._slot(place, stage, slot) for slot in range(len(stage.backward.kinds))), strict=True))
        sources = [number for name in stage.differentiated for number, _ in stage.sources[name]]
        transposed = None if stage.operand is None else multiplication(self._matrix(place).t(), self._batch)
        numbered = enumerate(stage.flows, start=stage.first)
        flows = [(number, slot, transposed if through else None) for number, (_, slot, through) in numbered]
        return BackwardPlan(stage.backward.run, columns, slots, sources, flows)

    def _slot(self, place: int, stage: StageKernels, slot: int) -> Sequence[Tensor]:
        """Rows to write gradients into, one per step; or two that take turns, for a gradient that only flows on to
        carried tensors, so that no later product or sum reads all its steps."""
        kind, flowing = stage.backward.kinds[slot], [at for _, at, through in stage.flows if not through]
        names = [name for name, at in stage.reached.items() if at == slot]
        if slot in flowing and len(names) == flowing.count(slot):
            turns = self._empty(kind, 2).unbind(0)
            return [turns[time % 2] for time in range(self._steps)]
        return self._stack(f"gradient {place} {slot}", kind).unbind(0)

    def _beyond_the_recurrence(self) -> dict[str, Tensor]:
        """The gradients of the gates, and of what all steps share, these by one product or sum over the steps."""
        found: dict[str, Tensor] = {}
        for place, stage in self._stages:
            taken = dict(zip(stage.takes, self._kernels.takes[place - 1], strict=True))
            for name, slot in stage.reached.items():
                gradient = self._stacks.get(f"gradient {place} {slot}")
                if name == "product" and gradient is not None:
                    found |= self._of_matrix(place, gradient)
                elif name == "gates" and gradient is not None:
                    found["gates@0"] = found["gates@0"] + gradient if "gates@0" in found else gradient
                elif name.startswith(("vector", "initial")) and gradient is not None:
                    key, total = taken[name], gradient.sum(0)
                    found[key] = found[key] + total if key in found else total
        return found

    def _of_matrix(self, place: int, gradient: Tensor) -> dict[str, Tensor]:
        operands = self._stacks[self._kernels.operands[place - 1]][: self._steps].flatten(0, 1)
        flat, state = gradient.flatten(0, 1), self._kernels.setting.state
        return {f"matrix {place}": torch.mm(flat.t(), operands).to(state), f"bias {place}": column_sums(flat).to(state)}
