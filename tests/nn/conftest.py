"""Models are compared in float64, from a fixed seed; kernels are traced and derived, but only compiled where a test asks."""

from typing import Any

import pytest
import torch

from throughtime.nn.cells import Cell
from throughtime.nn.engines import compiling, fused

_ALIKE: dict[object, Cell] = {}


@pytest.fixture(autouse=True)
def interpreted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, double: None) -> None:
    """Runs the fused engine's graphs node by node, which takes no compiler and no seconds; not in tests marked `compiled`.
    Cells of a kind and of the same shapes are traced once for all."""
    if "compiled" not in request.keywords:
        traced = fused._kernels
        monkeypatch.setattr(
            fused, "_kernels", lambda cell, *rest: traced(_ALIKE.setdefault(_shapes(cell), cell), *rest)
        )
        monkeypatch.setattr(compiling, "compiled", lambda graph, _: lambda tensors: run_graph(graph, tensors))
        monkeypatch.setattr(compiling, "why_not_compiled", lambda _: None)


def _shapes(cell: Cell) -> object:
    """What the step depends on; how many features come in is not among it."""
    shapes = {name: weight.shape for name, weight in cell.named_parameters()} | {"weight_input": len(cell.weight_input)}
    numbers = {
        name: value for name, value in vars(cell).items() if isinstance(value, int | float) and name != "features"
    }
    return type(cell), type(getattr(cell, "inner", cell)), str(cell.sizes), str(shapes), str(numbers)


def run_graph(graph: torch.fx.GraphModule, tensors: list[torch.Tensor]) -> Any:
    """Runs a graph node by node, as strict about its tensors as the kernel compiled of it."""
    assert all(tensor.is_contiguous() for tensor in tensors)
    return graph(*tensors)
