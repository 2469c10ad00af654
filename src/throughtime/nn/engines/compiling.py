"""A function of tensors as a kernel, compiled by Inductor, that writes into tensors given to it.

The batch stays symbolic, so that one kernel serves every batch size. Inductor keeps compiled kernels on disk from
run to run; within a process equal graphs share one. The guards of torch's public `torch.compile` take longer for each
call than a step of a small cell, so this file, and no other, uses the parts that it is built from.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

Function = Callable[..., Sequence[Tensor]]
Kind = tuple[bool, int, torch.dtype]  # whether there is one for each row of the batch, its width, its dtype


class Kernel(NamedTuple):
    """`run([*slots, *inputs])` writes its first results into the slots and returns the rest; `kinds`: of them all."""

    run: Callable[[list[Tensor]], Sequence[Tensor]]
    kinds: list[Kind]


@cache
def why_not_compiled(device: torch.device) -> str | None:
    """Why kernels cannot be compiled here, or None where they can."""
    if device.type not in ("cpu", "cuda"):
        return f"there is no compiler for {device.type}"
    if device.type == "cuda" and not torch.utils._triton.has_triton():
        return "triton is missing"
    names = ("g++", "clang++") if device.type == "cpu" else ("gcc", "clang")  # which triton builds its launchers with
    return None if any(map(shutil.which, names)) else f"there is no compiler ({' or '.join(names)})"


def stand_ins(kinds: Sequence[Kind], device: torch.device) -> list[Tensor]:
    """Fake tensors of these kinds that share a symbolic batch, to trace with."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    made: list[Tensor] = []
    for by_row, width, dtype in kinds:
        real = torch.empty((7, width) if by_row else (width,), dtype=dtype, device=device)
        dims = [DimDynamic.DUCK, DimDynamic.STATIC] if by_row else [DimDynamic.STATIC]
        context: Any = StatelessSymbolicContext(dynamic_sizes=dims)
        made.append(mode.from_tensor(real, symbolic_context=context))
    return made


def kinds_of(tensors: Sequence[Tensor]) -> list[Kind]:
    """The kinds of fake or real tensors (rows, width) or (width,)."""
    return [(tensor.dim() == 2, tensor.shape[-1], tensor.dtype) for tensor in tensors]


def results_of(function: Function, inputs: list[Tensor]) -> Sequence[Tensor]:
    """What a function of fake tensors returns; tensors that it creates (as autograd does for the gradient of something
    unused) are fake too."""
    with inputs[0].fake_mode:  # type: ignore[attr-defined]
        return function(*inputs)


def kernel(function: Function, inputs: list[Tensor], slots: int | None = None) -> Kernel:
    """Compiles a function of fake tensors, with slots for its first results, or for all."""
    kinds = kinds_of(results_of(function, inputs))
    count = len(kinds) if slots is None else slots
    arguments = [*(like(kind, inputs) for kind in kinds[:count]), *inputs]

    def into(*tensors: Tensor) -> list[Tensor]:
        results = list(function(*tensors[count:]))
        for slot, result in zip(tensors, results[:count], strict=False):
            slot.copy_(result)
        return results[count:]

    graph = traced(into, arguments)
    _write_by_piece(graph.graph)
    return Kernel(compiled(graph, arguments), kinds)


def _write_by_piece(graph: fx.Graph) -> None:
    """Writes a slot's pieces straight to where they belong, instead of joining them elsewhere and copying the whole."""
    aten = torch.ops.aten
    for node in graph.find_nodes(op="call_function", target=aten.copy_.default):
        slot, joined = node.args
        if joined.target is not aten.cat.default or len(joined.users) > 1:
            continue
        start = 0
        with graph.inserting_before(node):
            for piece in joined.args[0]:
                end = start + piece.meta["val"].shape[-1]
                columns = graph.call_function(aten.slice.Tensor, (slot, 1, start, end))
                graph.call_function(aten.copy_.default, (columns, piece))
                start = end
        graph.erase_node(node)
        graph.erase_node(joined)


def like(kind: Kind, inputs: list[Tensor]) -> Tensor:
    """A fake tensor of a kind, with the same batch as these."""
    by_row, width, dtype = kind
    model = next(tensor for tensor in inputs if tensor.dim() == 2)
    return model.new_empty((model.shape[0], width) if by_row else (width,), dtype=dtype)


def traced(function: Callable[..., Any], inputs: list[Tensor]) -> fx.GraphModule:
    """A function's graph.

    Raises:
        RuntimeError: it reads a tensor other than its inputs, whose current value would be frozen into the kernel.
    """
    from torch._functorch.compile_utils import fx_graph_cse
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    with inputs[0].fake_mode, torch.no_grad():  # type: ignore[attr-defined]
        graph = make_fx(function, decomposition_table=select_decomp_table())(*inputs)
    if graph.graph.find_nodes(op="get_attr"):
        raise RuntimeError("it reads a tensor that is no input, no state and none of the `vectors`")
    for node in graph.graph.nodes:
        if node.target in (torch.ops.aten.alias.default, torch.ops.aten.detach.default):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    return fx.GraphModule(graph, fx_graph_cse(graph.graph))


_SETTINGS = {
    "cpp.use_decompose_tanh": True,  # by exp it is twice as fast, with an error that is a rounding error beside 1
    "size_asserts": False,  # up to half of a small kernel's time; tensors here are laid out as kernels expect
}
_KERNELS: dict[str, Callable[[list[Tensor]], Sequence[Tensor]]] = {}
_SECONDS: list[float] = []


def compile_time() -> float:
    """Seconds that this process has spent compiling, or loading what an earlier one had compiled."""
    return sum(_SECONDS)


def compiled(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[[list[Tensor]], Sequence[Tensor]]:
    """Inductor's kernel for a graph."""
    from torch._guards import TracingContext, tracing
    from torch._inductor import config as inductor
    from torch._inductor.compile_fx import compile_fx_inner

    key = f"{graph.code}{kinds_of(inputs)}{inputs[0].device}"
    if key not in _KERNELS:
        context = TracingContext(inputs[0].fake_mode)  # type: ignore[attr-defined]
        started = time.perf_counter()
        with torch.no_grad(), tracing(context), inductor.patch(_SETTINGS):
            made: Any = compile_fx_inner(graph, inputs)
        _KERNELS[key] = made.current_callable  # what surrounds it costs as much as a small kernel
        _SECONDS.append(time.perf_counter() - started)
    return _KERNELS[key]
