"""Runs recorded once and replayed (CUDA graphs): a GPU is done with a step's kernels before Python has launched the next.

A recording keeps the addresses of its tensors, so it serves runs of one shape, and one of them at a time: from its forward
pass until autograd releases it, as the backward pass may come until then. Its results are copied.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from throughtime.nn.engines.once import tell_once

Results = tuple[Tensor | None, ...]

RECORDED = 8  # recordings per cell and kind, at most; each holds all its tensors


class Passes(Protocol):
    """A run: a forward pass, given the gates of all steps and all else by name, and a backward pass, given the
    gradients of the outputs and of the final states."""

    def forward(self, gates: Tensor, given: dict[Any, Tensor]) -> tuple[Tensor, ...]: ...

    def backward(self, outputs: Tensor, final: Sequence[Tensor]) -> Results: ...


class Tapes:
    """The recorded runs of a cell, by the shapes of what they take."""

    refused = False  # a recording has failed, after which a device can't be trusted with another

    def __init__(self) -> None:
        self._met: Counter[Any] = Counter()
        self._free: defaultdict[Any, list[Tape]] = defaultdict(list)
        self._made: Counter[Any] = Counter()

    def lend(self, begin: Callable[[], Passes], tensors: Sequence[Tensor], kind: Any) -> Passes:
        """A run for these tensors, the first of them (steps, batch, ...). From the second of its kind and shapes on it
        is recorded, if it has more than one step, with at most `RECORDED` recordings; else it is fresh."""
        if Tapes.refused:
            self._free.clear()  # and their memory, which may be what had run out
        if tensors[0].device.type not in RECORDINGS or len(tensors[0]) == 1 or Tapes.refused:
            return begin()
        shapes = kind, *(tensor.shape for tensor in tensors)
        self._met[shapes] += 1
        free = self._free[shapes]
        if self._met[shapes] == 1 or (not free and self._made[kind] == RECORDED):
            return begin()
        self._made[kind] += not free
        return Lent(free.pop() if free else Tape(begin()), free)


class Tape:
    """Both passes of a run, each recorded when it is first made."""

    def __init__(self, run: Passes):
        self._run = run
        self._recorded: dict[str, Callable[[Sequence[Tensor]], Any]] = {}

    def forward(self, gates: Tensor, given: dict[Any, Tensor]) -> tuple[Tensor, ...]:
        def run(gates: Tensor, *tensors: Tensor) -> Results:
            return self._run.forward(gates, dict(zip(given, tensors, strict=True)))

        outputs: tuple[Tensor, ...] = self._play("forward", run, [gates, *given.values()])
        return outputs

    def backward(self, outputs: Tensor, final: Sequence[Tensor]) -> Results:
        gradients: Results = self._play(
            "backward", lambda first, *rest: self._run.backward(first, rest), [outputs, *final]
        )
        return gradients

    def _play(self, name: str, function: Callable[..., Results], tensors: Sequence[Tensor]) -> Any:
        if name not in self._recorded and not Tapes.refused:
            self._record(name, function, tensors)
        return self._recorded[name](tensors) if name in self._recorded else function(*tensors)

    def _record(self, name: str, function: Callable[..., Results], tensors: Sequence[Tensor]) -> None:
        try:
            self._recorded[name] = RECORDINGS[tensors[0].device.type](function, tensors)
        except RuntimeError as error:
            Tapes.refused = True
            reason = str(error).strip().partition("\n")[0]
            tell_once(f"engine=fused: a run can't be recorded, so kernels are launched one by one: {reason}")


class Lent:
    """A tape lent to one run, and free again when that run ends."""

    def __init__(self, tape: Tape, free: list[Tape]):
        self.forward, self.backward = tape.forward, tape.backward
        self._tape, self._free = tape, free

    def __del__(self) -> None:
        self._free.append(self._tape)


class Recording:
    """What a function has done with tensors, to be repeated with others of the same shapes.

    Raises:
        RuntimeError: it does what can't be recorded, or there is no memory for it.
    """

    def __init__(self, function: Callable[..., Results], tensors: Sequence[Tensor]):
        stream, self._graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        with torch.inference_mode(False), torch.no_grad():  # an inference tensor can be written to in inference alone
            self._given = [tensor.clone() for tensor in tensors]
            function(*self._given)  # what a kernel does when it is first launched can't be recorded
            try:
                with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                    self._results = function(*self._given)
            finally:
                torch.cuda.set_stream(stream)  # a failed recording leaves its own as the current one

    def __call__(self, tensors: Sequence[Tensor]) -> Results:
        torch._foreach_copy_(self._given, list(tensors))
        self._graph.replay()
        return tuple(None if result is None else result.clone() for result in self._results)


RECORDINGS = {"cuda": Recording}  # by the kind of device; on others runs are not recorded
