"""Contract 1, replayed: a run of the fused engine that is recorded and played again equals the loop.

A recording repeats kernels on fixed addresses. `Film` is that on a CPU: it keeps the operations and does them again."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar
from weakref import WeakSet

import pytest
import torch
from tests.nn.test_cells import KINDS, H, I, T, all_close, stirred
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from throughtime.nn import recurrence
from throughtime.nn.cells import Lstm
from throughtime.nn.cells.base import Cell
from throughtime.nn.dropout import Rates
from throughtime.nn.engines import fused, once, replay
from throughtime.nn.stack import Stack

B = 3
VARIED = ["lstm", "projected_lstm", "cho_gru", "layer_norm_lstm", "indrnn", "highway", "multiplicative_lstm", "slstm"]


class Film(TorchDispatchMode):
    """Stands for `replay.Recording`."""

    made = 0
    kept: ClassVar[WeakSet["Film"]] = WeakSet()

    def __init__(self, function: Callable[..., replay.Results], tensors: Sequence[Tensor]):
        super().__init__()
        Film.made += 1
        Film.kept.add(self)
        self._operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self._given = [tensor.clone() for tensor in tensors]
        with torch.no_grad(), self:
            self._results = function(*self._given)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._operations.append((func, args, kwargs or {}, result))
        return result

    def __call__(self, tensors: Sequence[Tensor]) -> replay.Results:
        for own, given in zip(self._given, tensors, strict=True):
            own.copy_(given)
        for function, arguments, named, result in self._operations:
            again = function(*arguments, **named)
            if isinstance(result, Tensor) and again.data_ptr() != result.data_ptr():
                result.copy_(again)
        return tuple(None if result is None else result.clone() for result in self._results)


@pytest.fixture(autouse=True)
def filmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Film, "made", 0)
    monkeypatch.setattr(replay.Tapes, "refused", False)
    monkeypatch.setitem(replay.RECORDINGS, "cpu", Film)
    yield
    fused._TAPES.clear()  # some of the tests' cells outlive them


def learned(cell: Cell, engine: str, inputs: Tensor, **options: Any) -> list[Tensor]:
    """Outputs, final states, and every gradient of a run."""
    inputs = inputs.clone().requires_grad_()
    outputs, final = recurrence.run(cell, inputs, engine=engine, **options)
    loss = (outputs * outputs.detach().cos()).sum() + sum(part.sin().sum() for part in final.values())
    return [outputs, *(final[name] for name in cell.states), *torch.autograd.grad(loss, [inputs, *cell.parameters()])]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", VARIED)
def test_a_replayed_run_equals_the_loop(name: str, masked: bool) -> None:
    cell = stirred(KINDS[name](I, H))
    for _ in range(4):
        for weight in cell.parameters():  # as an optimiser would between runs
            weight.data += 0.1 * torch.randn_like(weight)
        options: dict[str, Any] = {}
        if masked:
            options = {"lengths": torch.randint(0, T + 1, (B,)), "resets": torch.rand(B, T) < 0.2}
        inputs = torch.randn(B, T, I)
        all_close(learned(cell, "fused", inputs, **options), learned(cell, "loop", inputs, **options))
    assert Film.made == 2  # both passes, once


def test_runs_that_wait_for_their_backward_pass_do_not_meet() -> None:
    cell, batches = Lstm(I, H), torch.randn(5, B, T, I)
    expected = [
        torch.autograd.grad(recurrence.run(cell, x, engine="loop")[0].sum(), cell.weight_hidden) for x in batches
    ]
    for _ in range(2):
        runs = [recurrence.run(cell, x, engine="fused")[0].sum() for x in batches]
        for place in (3, 0, 4, 1, 2):
            all_close(torch.autograd.grad(runs[place], cell.weight_hidden), expected[place])
        del runs
    assert Film.made == 2 * 5


def test_a_backward_pass_that_is_made_twice_and_one_that_never_comes() -> None:
    cell, inputs = Lstm(I, H), torch.randn(B, T, I)
    expected = torch.autograd.grad(recurrence.run(cell, inputs, engine="loop")[0].sum(), cell.weight_hidden)
    for _ in range(3):
        recurrence.run(cell, inputs, engine="fused")
        total = recurrence.run(cell, inputs, engine="fused")[0].sum()
        all_close(torch.autograd.grad(total, cell.weight_hidden, retain_graph=True), expected)
        all_close(torch.autograd.grad(total, cell.weight_hidden), expected)


def test_evaluation_is_recorded_by_itself() -> None:
    cell, inputs = Lstm(I, H), torch.randn(B, T, I)
    expected = recurrence.run(cell, inputs, engine="loop")
    for mode in (torch.no_grad, torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            all_close(recurrence.run(cell, inputs, engine="fused"), expected)
    assert Film.made == 1


def test_so_many_runs_are_recorded_and_the_others_run_anew() -> None:
    cell = Lstm(I, H)
    for time in [*range(2, 2 + 2 * replay.RECORDED)] * 3:
        inputs = torch.randn(B, time, I)
        with torch.no_grad():
            all_close(recurrence.run(cell, inputs, engine="fused"), recurrence.run(cell, inputs, engine="loop"))
    assert Film.made == replay.RECORDED


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_what_cannot_be_recorded_runs_anew_and_says_so(
    failing: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forward pass, a backward pass, another run's forward pass; nothing is recorded behind it, or kept."""

    def refuse(*given: Any) -> Film:
        if Film.made + 1 == failing:
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")
        return Film(*given)

    once.tell_once.cache_clear()
    monkeypatch.setitem(replay.RECORDINGS, "cpu", refuse)
    cell = stirred(Lstm(I, H))
    for time in (T, T + 1):
        for _ in range(4):
            inputs = torch.randn(B, time, I)
            all_close(learned(cell, "fused", inputs), learned(cell, "loop", inputs))
    assert Film.made == failing - 1
    gc.collect()
    assert not Film.kept  # which holds memory, and will not be lent again
    told = capsys.readouterr().err
    assert told.count("one by one: operation not permitted when stream is capturing") == 1 and "more of it" not in told


def test_single_steps_are_not_recorded() -> None:
    cell = Lstm(I, H)
    for _ in range(4):
        recurrence.run(cell, torch.randn(B, 1, I), engine="fused")
    assert Film.made == 0


NOISES = {"weights": 0.3, "state": 0.3, "zoneout": (0.2, 0.3), "candidate": 0.3}


@pytest.mark.parametrize("noise", NOISES)
def test_noise_and_learned_states_are_replayed(noise: str) -> None:
    stacks = [noisy(engine, Rates(**{noise: NOISES[noise]})) for engine in ("fused", "loop")]
    for seed in range(3):
        results = []
        for stack in stacks:
            torch.manual_seed(seed)
            outputs, _ = stack(torch.randn(B, T, I), resets=torch.rand(B, T) < 0.3)
            results.append([outputs, *torch.autograd.grad(outputs.sin().sum(), list(stack.parameters()))])
        all_close(*results)
    assert Film.made == 2 * 2


def noisy(engine: str, rates: Rates) -> Stack:
    torch.manual_seed(7)
    return Stack(Lstm, I, [H, H], rates=rates, engine=engine, learned_state=True)
