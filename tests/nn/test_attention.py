"""Every form of attention against its equations, written out row by row and step by step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from throughtime.nn.attention import (
    AdditiveAttention,
    Attended,
    Attention,
    DotAttention,
    GeneralAttention,
    LocationAttention,
    MultiheadAttention,
)

HIDDEN, WIDTH, TIME, LENGTHS = 6, 4, 3, [5, 2]

Score = Callable[[Tensor, Tensor, int, Tensor, Tensor], Tensor]  # q, memory of a row, s, last weights, coverage


def additive(form: AdditiveAttention) -> Score:
    def score(q: Tensor, memory: Tensor, s: int, *_: Tensor) -> Tensor:
        inner = form.query.weight @ q + form.query.bias + form.key.weight @ memory[s]
        return form.score.weight[0] @ torch.tanh(inner)

    return score


def location(form: LocationAttention) -> Score:
    def score(q: Tensor, memory: Tensor, s: int, last: Tensor, coverage: Tensor) -> Tensor:
        filters, half = form.filter.weight, form.filter.weight.shape[2] // 2
        f = torch.zeros(len(filters))
        for tap in range(filters.shape[2]):
            if 0 <= s + tap - half < len(memory):
                f = f + filters[:, 0, tap] * last[s + tap - half] + filters[:, 1, tap] * coverage[s + tap - half]
        inner = form.query.weight @ q + form.query.bias + form.key.weight @ memory[s] + form.location.weight @ f
        return form.score.weight[0] @ torch.tanh(inner)

    return score


FORMS: dict[str, tuple[Callable[[], Attention], Callable[..., Score]]] = {
    "dot": (lambda: DotAttention(HIDDEN), lambda _: lambda q, memory, s, *__: q @ memory[s]),
    "general": (
        lambda: GeneralAttention(HIDDEN, WIDTH),
        lambda form: lambda q, memory, s, *_: q @ form.key.weight @ memory[s],
    ),
    "additive": (lambda: AdditiveAttention(HIDDEN, WIDTH), additive),
    "location": (lambda: LocationAttention(HIDDEN, WIDTH, channels=2, window=3), location),
}


def sources(width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, memory that is large where it does not count, and the mask."""
    memory, mask = torch.randn(2, 5, width), torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(2, TIME, HIDDEN), memory.masked_fill(~mask[..., None], 50.0), mask


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_its_equation(name: str) -> None:
    make, scoring = FORMS[name]
    form = make()
    queries, memory, mask = sources(HIDDEN if name == "dot" else WIDTH)
    contexts, seen, weights = form(queries, Attended(form.key(memory), form.value(memory), mask), form.unseen(memory))
    for row, length in enumerate(LENGTHS):
        last, coverage = torch.zeros(length), torch.zeros(length)
        for time in range(TIME):
            scores = [scoring(form)(queries[row, time], memory[row, :length], s, last, coverage) for s in range(length)]
            exponentials = torch.stack(scores).exp()
            last = exponentials / exponentials.sum()
            coverage = coverage + last
            torch.testing.assert_close(weights[row, time, :length], last)
            torch.testing.assert_close(contexts[row, time], sum(last[s] * memory[row, s] for s in range(length)))
        assert not weights[row, :, length:].any()
        if name == "location":
            torch.testing.assert_close(seen[row, :length], torch.stack([last, coverage], dim=-1))


def test_multihead_is_torchs() -> None:
    form, (queries, memory, mask) = MultiheadAttention(HIDDEN, WIDTH, heads=2), sources(WIDTH)
    twin = torch.nn.MultiheadAttention(HIDDEN, 2, kdim=WIDTH, vdim=WIDTH, batch_first=True)
    with torch.no_grad():
        for name, part in (("q", form.query), ("k", form.key), ("v", form.value)):
            getattr(twin, f"{name}_proj_weight").copy_(part.weight)
        twin.in_proj_bias.copy_(torch.cat([form.query.bias, form.key.bias, form.value.bias]))
        twin.out_proj.load_state_dict(form.out.state_dict())
    found, _, weights = form(queries, Attended(form.key(memory), form.value(memory), mask), form.unseen(memory))
    expected, theirs = twin(queries, memory, memory, key_padding_mask=~mask)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(weights, theirs)


@pytest.mark.parametrize("name", [*FORMS, "multihead"])
def test_hypotheses_of_a_sentence_share_its_source(name: str) -> None:
    form = MultiheadAttention(HIDDEN, WIDTH, heads=3) if name == "multihead" else FORMS[name][0]()
    _, memory, mask = sources(HIDDEN if name == "dot" else WIDTH)
    source, queries = Attended(form.key(memory), form.value(memory), mask), torch.randn(6, 1, HIDDEN)
    seen = torch.rand_like(form.unseen(memory).repeat_interleave(3, dim=0))
    together = form(queries, source, seen)
    apart = form(queries, Attended(*(part.repeat_interleave(3, dim=0) for part in source)), seen)
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other)
