"""Ensembles and shallow fusion by their definitions."""

import pytest
import torch
from tests.search.models import Table, beam, run, same

from throughtime.search import Ensemble, Fusion

STARTS = [3, 1, 4]
CHOICE = beam(8, 4, n_best=4, coverage=0.1)


def steps(model: object) -> torch.Tensor:
    tokens, state = model.start([[start] for start in STARTS])  # type: ignore[attr-defined]
    scores, _ = model.step(tokens[:, None], state)  # type: ignore[attr-defined]
    return scores.log_probabilities.exp()


class FromNothing(Table):
    """A language model: what it has read before is nothing."""

    def start(self, batch: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        return super().start([[0] for _ in batch])


@pytest.mark.parametrize("mean", ["linear", "loglinear"])
def test_an_ensemble_of_one_is_the_one(mean: str) -> None:
    for model in (Table(6, 1), Table(6, 2)):
        for ones in ([model], [model, model]):
            together = run(Ensemble(ones, mean), STARTS, CHOICE)  # type: ignore[arg-type]
            for one, other in zip(together, run(model, STARTS, CHOICE), strict=True):
                same(one, other)


def test_an_ensemble_takes_the_mean() -> None:
    models = [Table(6, seed) for seed in range(3)]
    probabilities = torch.stack([steps(model) for model in models])
    torch.testing.assert_close(steps(Ensemble(models, "linear")), probabilities.mean(0))
    geometric = probabilities.prod(0) ** (1 / 3)
    torch.testing.assert_close(steps(Ensemble(models, "loglinear")), geometric / geometric.sum(-1, keepdim=True))


def test_members_keep_their_own_state() -> None:
    models = [Table(6, seed, eos_bias=1.0) for seed in range(2)]
    for start, found in zip(STARTS, run(Ensemble(models), STARTS, beam(6, 3)), strict=True):
        tokens, total, states = [*found[0].tokens, *[2] * found[0].finished], 0.0, [start, start]
        last = 0
        for token in tokens:
            states = [(state * 31 + last + 1) % 4096 for state in states]
            mixed = sum(torch.softmax(m.logits[s], -1)[token] for m, s in zip(models, states, strict=True)) / 2
            total, last = total + float(mixed.log()), token  # type: ignore[union-attr]
        assert found[0].log_probability == pytest.approx(total, abs=1e-5)


def test_fusion_of_no_weight_is_none_and_of_some_adds() -> None:
    translator, writer = Table(6, 1), FromNothing(6, 2)
    writer.logits[:, 0] = -torch.inf
    alone = run(translator, STARTS, CHOICE)
    for one, other in zip(run(Fusion(translator, writer, 0.0), STARTS, CHOICE), alone, strict=True):
        same(one, other, tolerance=0)
    fused = steps(Fusion(translator, writer, 0.5))
    torch.testing.assert_close(fused[..., 1:], (steps(translator) * steps(writer) ** 0.5)[..., 1:])
