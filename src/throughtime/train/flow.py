"""Where the gradient dies: how much the states of earlier steps have to do with the loss of the last one."""

from collections import defaultdict
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data.batch import IGNORED, PairBatch, TextChunk
from throughtime.nn.models import LanguageModel
from throughtime.nn.watched import layers, watched

FAINT = 0.01  # of the largest norm; what is less counts as gone


class Flow(NamedTuple):
    """Of one layer, direction and state tensor s: `norms[k]`, the L2 norm of dL/ds_{T-k}, L being the loss of a row's last
    target in nats and T the layer's last step in its own order; the mean over rows that have so many steps."""

    layer: str
    state: str
    norms: list[float]


def gradient_flow(model: nn.Module, batch: TextChunk | PairBatch, rows: int, steps: int) -> list[Flow]:
    """The flow through the first rows of a batch, of a text through its first steps; as in evaluation, without noise, and
    without a cut: it shows what there is to be cut. The model and its gradients stay as they are."""
    found: defaultdict[tuple[str, str], list[Tensor]] = defaultdict(list)
    for row in range(min(rows, len(batch.tokens))):
        seeing = watched(model)
        for key, norms in _norms(seeing, _last_loss(seeing, batch, row, steps)).items():
            found[key].append(norms)
    return [Flow(layer, state, _mean(curves)) for (layer, state), curves in found.items()]


def reach(flows: list[Flow]) -> dict[str, int]:
    """For each layer and direction, how many steps back the gradient by any of its states is not yet `FAINT`."""
    found: dict[str, int] = {}
    for flow in flows:
        largest = max(flow.norms)
        far = max((back for back, norm in enumerate(flow.norms) if norm > FAINT * largest), default=0)
        found[flow.layer] = max(found.get(flow.layer, 0), far)
    return found


def _last_loss(model: Any, batch: TextChunk | PairBatch, row: int, steps: int) -> Tensor:
    """Of one row, without its padding."""
    if isinstance(batch, TextChunk):
        assert isinstance(model, LanguageModel)
        tokens, scored = batch.tokens[row : row + 1, :steps], batch.tokens.shape[1] - batch.targets.shape[1]
        outputs, _ = model.outputs(tokens)
        return F.cross_entropy(model.output(outputs[:, -1]), batch.targets[row, tokens.shape[1] - 1 - scored][None])
    length, written = batch.source_lengths[row : row + 1], int((batch.targets[row] != IGNORED).sum())
    source, tokens = batch.source[row : row + 1, : int(length)], batch.tokens[row : row + 1, :written]
    features = model.features(source, length, tokens)
    return F.cross_entropy(model.output(features[:, -1]), batch.targets[row, written - 1][None])


def _norms(model: nn.Module, loss: Tensor) -> dict[tuple[str, str], Tensor]:
    """By layer (and direction, where it has two) and state: from the last step back."""
    found: dict[tuple[str, str], Tensor] = {}
    for name, layer in layers(model):
        for direction, seen in enumerate(layer.seen):
            side = f".{('forward', 'backward')[direction]}" if len(layer.seen) > 1 else ""
            for state in seen[0]:
                parts = [after[state] for after in seen]
                gradients = torch.autograd.grad(loss, parts, retain_graph=True, allow_unused=True)
                norms = [loss.new_zeros(()) if gradient is None else gradient.norm() for gradient in gradients]
                found[f"{name}{side}", state] = torch.stack(norms).flip(0).detach().cpu()
    return found


def _mean(curves: list[Tensor]) -> list[float]:
    """Step by step, over the curves that are so long."""
    longest = max(map(len, curves))
    return [float(torch.stack([curve[at] for curve in curves if at < len(curve)]).mean()) for at in range(longest)]
