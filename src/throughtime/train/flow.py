"""Where the gradient vanishes: how much the states of earlier steps affect the loss of the last one."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data.batch import IGNORED, PairBatch, TextChunk
from throughtime.nn.watched import layers, watched

FAINT = 0.01  # of the largest norm; anything less counts as vanished


class Flow(NamedTuple):
    """Of one layer, direction and state tensor s: `norms[k]`, the L2 norm of dL/ds_{T-k}, L being the loss of a row's last
    target in nats and T the layer's last step in its own order; the mean over the rows that have more than k steps."""

    layer: str
    state: str
    norms: list[float]


def gradient_flow(model: nn.Module, batch: TextChunk | PairBatch, rows: int, steps: int) -> list[Flow]:
    """The flow through the first `rows` of a batch; in a text up to `steps` back, and not beyond a reset of the state.
    As in evaluation there is no noise, nor is the gradient cut, to show what a cut would remove. The model and its
    gradients are left unchanged."""
    curves_by_state: defaultdict[tuple[str, str], list[Tensor]] = defaultdict(list)
    for part in _without_padding(batch, rows, steps):
        for key, norms in _norms(watched(model), part).items():
            curves_by_state[key] += norms
    return [Flow(layer, state, _mean(curves)) for (layer, state), curves in curves_by_state.items()]


def reach(flows: list[Flow]) -> dict[str, int]:
    """For each layer and direction, the farthest step back at which the gradient with respect to one of its states is
    still above the share `FAINT` of its largest."""
    reached: dict[str, int] = {}
    for flow in flows:
        largest = max(flow.norms)
        far = max((back for back, norm in enumerate(flow.norms) if norm > FAINT * largest), default=0)
        reached[flow.layer] = max(reached.get(flow.layer, 0), far)
    return reached


def append(file: Path, at: dict[str, int], flows: list[Flow]) -> None:
    """Writes a line of JSON for each flow: `at`, the epoch and the step, then its own fields."""
    with file.open("a", encoding="utf-8") as lines:
        lines.writelines(json.dumps({**at, **flow._asdict()}) + "\n" for flow in flows)


def read(file: Path) -> dict[int, list[Flow]]:
    """The flows recorded in a file, by step, the last one last; none where there is no file."""
    flows: defaultdict[int, list[Flow]] = defaultdict(list)
    for line in map(json.loads, file.read_text(encoding="utf-8").splitlines() if file.exists() else ()):
        flows[line["step"]].append(Flow(line["layer"], line["state"], line["norms"]))
    return dict(flows)


def _without_padding(batch: TextChunk | PairBatch, rows: int, steps: int) -> Iterator[TextChunk | PairBatch]:
    """The rows of a text together, those of pairs one by one."""
    if isinstance(batch, TextChunk):
        part = batch.part(0, steps + 1)
        resets = None if part.resets is None else part.resets[:rows]
        yield part._replace(tokens=part.tokens[:rows], targets=part.targets[:rows], resets=resets)
        return
    for row in range(min(rows, len(batch.tokens))):
        one = PairBatch(*(column[row : row + 1] for column in batch))
        written = int((one.targets != IGNORED).sum())
        source = one.source[:, : int(one.source_lengths)]
        yield one._replace(source=source, tokens=one.tokens[:, :written], targets=one.targets[:, :written])


def _last_loss(model: Any, batch: TextChunk | PairBatch) -> Tensor:
    """The loss of the last target, summed over the rows."""
    if isinstance(batch, TextChunk):
        features, _ = model.outputs(batch.tokens, resets=batch.resets)
    else:
        features = model.features(batch.source, batch.source_lengths, batch.tokens)
    return F.cross_entropy(model.output(features[:, -1]), batch.targets[:, -1], reduction="sum")


def _norms(model: nn.Module, batch: TextChunk | PairBatch) -> dict[tuple[str, str], list[Tensor]]:
    """The norms by layer (and direction, where it has two) and state, for each row, from the last step back."""
    loss = _last_loss(model, batch)
    states: dict[tuple[str, str], list[Tensor]] = {}
    for name, layer in layers(model):
        for direction, seen in enumerate(layer.seen):
            side = f".{('forward', 'backward')[direction]}" if len(layer.seen) > 1 else ""
            states |= {(f"{name}{side}", state): [after[state] for after in seen] for state in seen[0]}
    leading = [part for parts in states.values() for part in parts if part.requires_grad]
    gradients = dict(zip(leading, torch.autograd.grad(loss, leading, allow_unused=True), strict=True))
    found = {}
    for key, parts in states.items():
        norms = [_by_row(part, gradients.get(part)) for part in parts]
        found[key] = list(torch.stack(norms, dim=1).flip(1).cpu())
    return found


def _by_row(state: Tensor, gradient: Tensor | None) -> Tensor:
    """(rows, size) -> (rows,); zero where the loss does not depend on the state."""
    return state.new_zeros(len(state)) if gradient is None else gradient.norm(dim=1)


def _mean(curves: list[Tensor]) -> list[float]:
    """The mean at each step, over the curves that reach it."""
    longest = max(map(len, curves))
    return [float(torch.stack([curve[at] for curve in curves if at < len(curve)]).mean()) for at in range(longest)]
