"""A function and its derivative as two graphs, and what the first saves for the second."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, fx

from throughtime.nn.engines.compiling import Function, results_of, traced


class Derived(NamedTuple):
    """A traced function and its derivative.

    `forward`: inputs -> results, then what else the derivative saves. `saved`: what the derivative takes before the
    gradients of the results; an input by its place, the forward's k-th result as -1 - k. `backward`: saved, gradients ->
    the gradients of inputs; `reached`: an input's place -> the place of its gradient among them.
    """

    forward: fx.GraphModule
    saved: list[int]
    backward: fx.GraphModule
    reached: dict[int, int]


def derive(function: Function, inputs: list[Tensor], differentiable: Sequence[bool], results: int) -> Derived:
    """Traces a function of fake tensors, and the first `results`' derivative with respect to differentiable inputs."""

    def joint(*tensors: Tensor) -> list[Tensor | None]:
        primals = [
            tensor.detach().requires_grad_(flag)
            for tensor, flag in zip(tensors[: len(inputs)], differentiable, strict=True)
        ]
        with torch.enable_grad():
            outputs = list(function(*primals))
            flowing = [
                (output, gradient)
                for output, gradient in zip(outputs[:results], tensors[len(inputs) :], strict=True)
                if output.requires_grad
            ]
            leaves = [primal for primal in primals if primal.requires_grad]
            tops, gradients = zip(*flowing, strict=True)
            found = torch.autograd.grad(tops, leaves, gradients, allow_unused=True)
        return [*outputs, *found]

    outputs = results_of(function, inputs)
    graph = traced(joint, [*inputs, *(torch.empty_like(output) for output in outputs[:results])])
    return _partition(graph, len(inputs), len(outputs), [place for place, flag in enumerate(differentiable) if flag])


def _partition(graph: fx.GraphModule, inputs: int, outputs: int, places: list[int]) -> Derived:
    """Cuts the joint graph in two. What the derivative needs of the forward is saved, unless cheap operations on one
    saved tensor recompute it."""
    nodes = list(graph.graph.nodes)
    (returned,) = nodes[-1].args
    leaves = [node for node in nodes if node.op == "placeholder"]
    behind = set(leaves[inputs:])  # what depends on the gradients coming in
    for node in nodes:
        if behind.intersection(node.all_input_nodes):
            behind.add(node)
    found = {place: node for place, node in zip(places, returned[outputs:], strict=True) if node is not None}
    gradients = list(dict.fromkeys(found.values()))
    saved = _needed(gradients, behind)
    results = list(returned[:outputs])
    results += [node for node in saved if node not in leaves and node not in results]
    forward = _extracted(graph, leaves[:inputs], results)
    backward = _extracted(graph, [*saved, *leaves[inputs:]], gradients)
    references = [leaves.index(node) if node in leaves else -1 - results.index(node) for node in saved]
    return Derived(forward, references, backward, {place: gradients.index(node) for place, node in found.items()})


_POINTWISE = {"sigmoid", "tanh", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "pow", "erf"}
_REDUCTIONS = {"sum", "mean", "var_mean", "amax", "amin", "max", "min"}


def _needed(tops: list[fx.Node], behind: set[fx.Node]) -> list[fx.Node]:
    """The forward's nodes to save for the derivative: what it uses, traced back to what that is cheaply made of."""
    saved: dict[fx.Node, None] = {}
    waiting, seen = list(tops), set(tops)
    while waiting:
        node = waiting.pop()
        if node not in behind:
            saved |= dict.fromkeys(_bases(node))
            continue
        fresh = [before for before in node.all_input_nodes if before not in seen]
        seen.update(fresh)
        waiting.extend(fresh)
    return list(saved)


def _bases(node: fx.Node) -> set[fx.Node]:
    """The nodes from which cheap operations make a node: at most one wide node, and any that have one number per row;
    the node itself where more than one is wide."""
    if node.op == "placeholder" or _dear(node):
        return {node}
    found: set[fx.Node] = set().union(*(_bases(before) for before in node.all_input_nodes))
    return found if sum(map(_wide, found)) <= 1 else {node}


def _dear(node: fx.Node) -> bool:
    """Whether recomputing a node costs more than reading it."""
    name = node.target.__name__.partition(".")[0] if callable(node.target) else ""
    product = name == "pow" and node.args[1] in (1, 2, 3)
    return name in _REDUCTIONS or (name in _POINTWISE and _wide(node) and not product)


def _wide(node: fx.Node) -> bool:
    return bool(node.meta["val"].shape[-1] > 1)


def _extracted(graph: fx.GraphModule, inputs: list[fx.Node], outputs: list[fx.Node]) -> fx.GraphModule:
    """The part of a graph that leads from these nodes to those."""
    part = fx.Graph()
    known = {node: part.placeholder(f"input_{place}") for place, node in enumerate(inputs)}
    wanted = _leading_to(outputs, set(inputs))
    for node in graph.graph.nodes:
        if node in wanted and node not in known:
            known[node] = part.node_copy(node, lambda before: known[before])
    part.output([known[node] for node in outputs])
    return fx.GraphModule(graph, part)


def _leading_to(outputs: list[fx.Node], inputs: set[fx.Node]) -> set[fx.Node]:
    wanted: set[fx.Node] = set()
    waiting = list(outputs)
    while waiting:
        node = waiting.pop()
        if node not in wanted and node not in inputs:
            wanted.add(node)
            waiting.extend(node.all_input_nodes)
    return wanted
