"""How a language model is evaluated: as it is, adapting to the text it reads, or with a cache of what it has read."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from throughtime import config
from throughtime.data.batch import IGNORED
from throughtime.train.ranks import of_all_ranks


class Cache(NamedTuple):
    """The last outputs of a language model, (batch, places, width), and the tokens that followed each, (batch, places)."""

    outputs: Tensor
    followed: Tensor

    def longer(self, outputs: Tensor, followed: Tensor) -> "Cache":
        """With those of the next steps appended."""
        return Cache(torch.cat([self.outputs, outputs], dim=1), torch.cat([self.followed, followed], dim=1))

    def last(self, places: int) -> "Cache":
        """Only the newest."""
        return Cache(self.outputs[:, -places:], self.followed[:, -places:])


def empty_cache(outputs: Tensor) -> Cache:
    """The cache before the first step of outputs (batch, time, width)."""
    return Cache(outputs[:, :0], torch.zeros(len(outputs), 0, dtype=torch.long, device=outputs.device))


def cached_loss(
    logits: Tensor, outputs: Tensor, targets: Tensor, cache: Cache, choice: config.CacheEvaluation
) -> tuple[Tensor, Tensor, Cache]:
    """The continuous cache of Grave et al. 2017 (equations 2 to 4).

    p(w) = (1 - lambda) p_model(w) + lambda sum_i [w followed place i] softmax_i(theta h_t . h_i), i over the last `size`
    places before t. logits (batch, time, vocabulary), outputs (batch, time, width), targets (batch, time) -> the summed
    negative log probability in nats, the number of targets that count, and the cache after the last step.
    """
    log_model = torch.log_softmax(logits.float(), dim=-1).gather(-1, targets.clamp(min=0)[..., None]).squeeze(-1)
    whole, before = cache.longer(outputs, targets), cache.followed.shape[1]
    here = before + torch.arange(targets.shape[1], device=targets.device)[:, None]
    place = torch.arange(whole.followed.shape[1], device=targets.device)
    seen = ((place < here) & (place >= here - choice.size)) & (whole.followed != IGNORED)[:, None]
    with torch.autocast(outputs.device.type, enabled=False):  # theta magnifies small differences
        scores = choice.theta * outputs.float() @ whole.outputs.float().transpose(1, 2)
    scores = scores.masked_fill(~seen, -torch.inf)
    weights = torch.softmax(scores, dim=-1).nan_to_num()  # a row that has seen nothing has no weights
    found = (weights * (whole.followed[:, None] == targets[..., None])).sum(-1)
    share = choice.share * seen.any(-1)
    log_mixed = torch.logaddexp(torch.log1p(-share) + log_model, (share * found).log())
    counted = targets != IGNORED
    return -log_mixed.masked_fill(~counted, 0.0).sum(), counted.sum(), whole.last(choice.size)


class Dynamic:
    """Dynamic evaluation (Krause et al. 2018, equation 6): after each chunk a step down its gradient, and some way back
    towards the trained weights theta_g, theta <- theta - lr g + decay (theta_g - theta)."""

    def __init__(self, model: nn.Module, choice: config.DynamicEvaluation):
        self._model, self._choice = model, choice
        self._trained = [weight.detach().clone() for weight in model.parameters()]

    def learn(self, total: Tensor, targets: Tensor) -> None:
        """One step on the mean loss over the targets of a scored chunk, those of the other processes included. `total`:
        the summed loss of this process; `targets`: their number."""
        weights = list(self._model.parameters())
        with torch.autocast(total.device.type, enabled=False):  # which is for the forward pass alone
            gradients = torch.autograd.grad(total, weights, allow_unused=True)
        everywhere = of_all_ranks(targets).clamp(min=1)
        with torch.no_grad():
            for weight, gradient, trained in zip(weights, gradients, self._trained, strict=True):
                if gradient is not None:
                    mean = of_all_ranks(gradient) / everywhere
                    weight.add_(self._choice.decay * (trained - weight) - self._choice.lr * mean)

    def restore(self) -> None:
        """Puts the trained weights back."""
        with torch.no_grad():
            for weight, trained in zip(self._model.parameters(), self._trained, strict=True):
                weight.copy_(trained)
