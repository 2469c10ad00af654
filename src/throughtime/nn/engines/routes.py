"""Where the gradients of a step go: each that a stage sends on has a number, by which the stages before it receive it."""

from collections import defaultdict
from itertools import count
from typing import NamedTuple

import torch

from throughtime.nn.engines.stage import Incoming, Sources, StageKernels
from throughtime.nn.engines.versions import Part, Role, carried

ABOVE = 0  # the number of the gradient from the layer above

Sent = dict[int, list[Incoming]]  # by stage, in the order of its `flows`
Boundary = dict[str, list[Incoming]]  # what a step leaves for each state before it


class Routes(NamedTuple):
    """`sources`: by stage, what arrives at its results. Nothing is sent by the number `unused` or any after it: under
    these stand the zeros that arrive where nothing else does."""

    sources: dict[int, Sources]
    sent: Sent
    boundary: Boundary
    unused: int


def routed(stages: dict[int, StageKernels], states: tuple[str, ...], output: Part, dtype: torch.dtype) -> Routes:
    """The routes of a step: its stages in order, its states and their dtype, and the part that the layer above reads.

    The boundary depends only on which gradients leave the stages, so a first walk with nothing arriving from the next
    step finds it, for a second walk with that arriving.
    """
    numbers = count(ABOVE + 1)
    sent = {place: [Incoming(next(numbers), flow.dtype) for flow in stage.flows] for place, stage in stages.items()}
    unused, above = next(numbers), Incoming(ABOVE, dtype)

    def walked(after: Boundary) -> Routes:
        waiting = defaultdict(list, {carried(name): list(incoming) for name, incoming in after.items()})
        waiting[output].append(above)
        nothing = (Incoming(number, dtype) for number in count(unused))
        sources: dict[int, Sources] = {}
        for place, stage in reversed(stages.items()):
            sources[place] = {part: waiting.pop(part, []) or [next(nothing)] for part in stage.differentiated}
            for flow, incoming in zip(stage.flows, sent[place], strict=True):
                waiting[flow.part].append(incoming)
        boundary = {name: [*waiting[carried(name)], *waiting[Part(Role.OLD, name)]] for name in states}
        return Routes(sources, sent, boundary, unused)

    return walked(walked({}).boundary)
