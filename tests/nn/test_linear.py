"""Contract 1 for the cells whose gates see only the input: equal to their equations, and to themselves by every engine."""

from collections.abc import Callable
from functools import partial
from itertools import product
from math import exp, log, log1p, sqrt, tanh

import pytest
import torch
from tests.conftest import settings
from torch import Tensor, nn

from throughtime.build.cells import cell_maker
from throughtime.config import Mistake
from throughtime.nn import recurrence
from throughtime.nn.cells import Cell
from throughtime.nn.cells.minimal import MinGru, MinLstm
from throughtime.nn.cells.mlstm import Mlstm
from throughtime.nn.cells.qrnn import ForgetQrnn, InputQrnn, OutputQrnn, Qrnn
from throughtime.nn.cells.rg_lru import RgLru
from throughtime.nn.cells.sru import Sru
from throughtime.nn.engines import chunkwise, compiling, scan
from throughtime.nn.stack import Stack
from throughtime.nn.state import State, detach

KINDS: dict[str, Callable[[int, int], Cell]] = {
    "mingru": MinGru,
    "minlstm": MinLstm,
    "sru": Sru,
    "qrnn_f": partial(ForgetQrnn, taps=3),
    "qrnn_fo": OutputQrnn,
    "qrnn_ifo": partial(InputQrnn, taps=4),
    "rg_lru": RgLru,
    "mlstm": partial(Mlstm, heads=2),
}
ENGINES = ["loop", "scan"]
B, T, I, H = 3, 7, 5, 4
Vector = list[float]


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks as on a GPU, several chunks, the last ones short."""
    monkeypatch.setattr(scan, "block_length", lambda steps: 2 if len(steps) > 1 else 1)
    monkeypatch.setattr(chunkwise, "CHUNK", 3)
    monkeypatch.setattr(chunkwise, "TOGETHER", 6)


def close(ours: State, theirs: State) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def stirred(module: nn.Module) -> nn.Module:
    """Vectors away from where they start."""
    for weight in module.parameters():
        if weight.dim() == 1:
            weight.data += 0.5 * torch.randn_like(weight)
    return module


def random_state(cell: Cell) -> dict[str, Tensor]:
    return {name: torch.randn(B, size) for name, size in cell.sizes.items()}


# the papers' equations, number by number ---------------------------------------------------------------------------


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def times(weight: Tensor, vector: Vector) -> Vector:
    return [sum(w * v for w, v in zip(row, vector, strict=True)) for row in weight.tolist()]


def gates_of(cell: Cell, x: Vector, window: Vector) -> list[Vector]:
    sums = [a + b for a, b in zip(times(cell.weight_input, x), cell.bias_input.tolist(), strict=True)]
    if isinstance(cell, Qrnn):
        sums = [a + b for a, b in zip(sums, times(cell.weight_window, window), strict=True)]
    return [sums[start : start + cell.hidden] for start in range(0, len(sums), cell.hidden)]


def minimal(cell: Cell, gates: list[Vector], x: Vector, unit: int, h: float) -> float:
    if isinstance(cell, MinGru):
        z = sigmoid(gates[0][unit])
        return (1 - z) * h + z * gates[1][unit]
    f, i = sigmoid(gates[0][unit]), sigmoid(gates[1][unit])
    return f / (f + i) * h + i / (f + i) * gates[2][unit]


def griffin(cell: Cell, gates: list[Vector], x: Vector, unit: int, h: float) -> float:
    r, i = sigmoid(gates[0][unit]), sigmoid(gates[1][unit])
    a = exp(-8 * log1p(exp(cell.decay[unit].item())) * r)
    return a * h + sqrt(1 - a**2) * i * (gates[2] if len(gates) > 2 else x)[unit]


def simple(cell: Cell, gates: list[Vector], x: Vector, unit: int, c: float) -> tuple[float, float]:
    f, r = sigmoid(gates[1][unit]), sigmoid(gates[2][unit])
    c = f * c + (1 - f) * gates[0][unit]
    return c, r * tanh(c) + (1 - r) * (gates[3] if len(gates) > 3 else x)[unit]


def pooled(cell: Cell, gates: list[Vector], unit: int, c: float) -> tuple[float, float]:
    z = tanh(gates[0][unit])
    others = [sigmoid(gate[unit]) for gate in gates[1:]]
    if isinstance(cell, InputQrnn):
        i, f, o = others
        return f * c + i * z, o * (f * c + i * z)
    c = others[0] * c + (1 - others[0]) * z
    return c, c * (others[1] if isinstance(cell, OutputQrnn) else 1)


def matrix(cell: Mlstm, x: Vector, old: dict[str, Vector]) -> dict[str, Vector]:
    """The memory without a stabiliser, exp(m) times the cell's own; the stabiliser by itself."""
    sums = [a + b for a, b in zip(times(cell.weight_input, x), cell.bias_input.tolist(), strict=True)]
    d, size = cell.hidden // cell.heads, cell.hidden
    q, k, v, o = (sums[start : start + size] for start in range(0, 4 * size, size))
    new: dict[str, Vector] = {"h": [], "C": [], "n": [], "m": []}
    for head in range(cell.heads):
        a_i, a_f, was = sums[4 * size + head], sums[4 * size + cell.heads + head], old["m"][head]
        m = max(log(sigmoid(a_f)) + was, a_i)
        mine = range(head * d, head * d + d)
        n = [sigmoid(a_f) * exp(was) * old["n"][j] + exp(a_i) * k[j] / sqrt(d) for j in mine]
        rows = [
            [
                sigmoid(a_f) * exp(was) * old["C"][i * d + j] + exp(a_i) * v[i] * k[head * d + j] / sqrt(d)
                for j in range(d)
            ]
            for i in mine
        ]
        below = max(abs(sum(n[j] * q[head * d + j] for j in range(d))), 1)
        for place, row in zip(mine, rows, strict=True):
            new["h"].append(sigmoid(o[place]) * sum(row[j] * q[head * d + j] for j in range(d)) / below)
            new["C"] += [value * exp(-m) for value in row]
        new["n"] += [value * exp(-m) for value in n]
        new["m"].append(m)
    return new


def equations(cell: Cell, x: Vector, old: dict[str, Vector]) -> dict[str, Vector]:
    """One step of one row."""
    if isinstance(cell, Mlstm):
        return matrix(cell, x, old)
    gates = gates_of(cell, x, old.get("window", []))
    if isinstance(cell, MinGru | MinLstm | RgLru):
        one = griffin if isinstance(cell, RgLru) else minimal
        return {"h": [one(cell, gates, x, unit, old["h"][unit]) for unit in range(H)]}
    carried = old.get("c", old["h"])
    if isinstance(cell, Sru):
        pairs = [simple(cell, gates, x, unit, carried[unit]) for unit in range(H)]
    else:
        pairs = [pooled(cell, gates, unit, carried[unit]) for unit in range(H)]
    new = {"h": [h for _, h in pairs], "c": [c for c, _ in pairs]}
    new["window"] = (x + old.get("window", []))[: len(old.get("window", []))]
    return {name: new[name] for name in cell.states}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "features"), product(KINDS, [I, H]))
def test_equals_the_equations(name: str, features: int, engine: str) -> None:
    cell, inputs = stirred(KINDS[name](features, H)), torch.randn(B, T, features)
    start = random_state(cell)
    outputs, final = recurrence.run(cell, inputs, start, engine=engine)
    for row in range(B):
        state = {part: start[part][row].tolist() for part in cell.states}
        for time in range(T):
            state = equations(cell, inputs[row, time].tolist(), state)
            close(outputs[row, time], torch.tensor(state["h"]))
        close({part: final[part][row] for part in cell.states}, {k: torch.tensor(v) for k, v in state.items()})


# engines, chunks, steps, rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("depth", "both", "engine"), [*product([1, 3], [False, True], ["scan"]), (1, False, "fused"), (1, False, "auto")]
)
def test_engines_agree(name: str, depth: int, both: bool, engine: str) -> None:
    """Outputs, states and all gradients, of ragged batches too."""
    reference = stirred(Stack(KINDS[name], I, [H] * depth, both, engine="loop"))
    stack = Stack(KINDS[name], I, [H] * depth, both, engine=engine)
    stack.load_state_dict(reference.state_dict())
    inputs = torch.randn(B, T, I, requires_grad=True)
    for lengths in (None, torch.tensor([7, 2, 0])):
        results = []
        for module in (reference, stack):
            outputs, final = module(inputs, lengths=lengths)
            ends = sum(part.sin().sum() for layer in final for side in layer for part in side.values())
            found = torch.autograd.grad(outputs.cos().sum() + ends, [inputs, *module.parameters()])
            results.append((outputs, final, found))
        close(*results)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("engine", ["loop", "scan"])
def test_gradcheck(name: str, engine: str) -> None:
    cell = stirred(KINDS[name](2, 2))
    inputs = torch.randn(2, 5, 2, requires_grad=True)
    start = {part: torch.randn(2, size, requires_grad=True) for part, size in cell.sizes.items()}
    weights, resets = dict(cell.named_parameters()), torch.zeros(2, 5, dtype=torch.bool)
    resets[0, 2] = True

    def run(inputs: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(start, values, strict=False))
        given = dict(zip(weights, values[len(state) :], strict=True))
        with torch.nn.utils.stateless._reparametrize_module(cell, given):
            outputs, final = recurrence.run(cell, inputs, state, torch.tensor([5, 3]), engine=engine, resets=resets)
        return outputs, *final.values()

    assert torch.autograd.gradcheck(run, (inputs, *start.values(), *weights.values()))


@pytest.mark.parametrize(("name", "engine", "depth"), product(KINDS, ENGINES, [1, 3]))
def test_chunks_and_steps_equal_the_whole(name: str, engine: str, depth: int) -> None:
    stack, inputs = stirred(Stack(KINDS[name], I, [H] * depth, engine=engine)), torch.randn(B, T, I)
    whole, final = stack(inputs)
    for chunk in (1, 2, 5):
        state, parts = None, []
        for part in inputs.split(chunk, dim=1):
            outputs, state = stack(part, state)
            parts.append(outputs)
            state = detach(state)
        close(torch.cat(parts, dim=1), whole)
        close(state, final)


@pytest.mark.parametrize(("name", "engine", "both"), product(KINDS, ENGINES, [False, True]))
def test_padding_changes_nothing(name: str, engine: str, both: bool) -> None:
    stack, lengths = stirred(Stack(KINDS[name], I, [H] * 3, both, engine=engine)), [7, 1, 4]
    inputs = torch.randn(B, T, I)
    outputs, state = stack(inputs, lengths=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone, alone_state = stack(inputs[row : row + 1, :length])
        close(outputs[row, :length], alone[0])
        assert not outputs[row, length:].any()
        for sides, others in zip(state, alone_state, strict=True):
            for side, other in zip(sides, others, strict=True):
                close({part: side[part][row] for part in side}, {part: other[part][0] for part in side})


@pytest.mark.parametrize(("name", "engine"), product(KINDS, ENGINES))
def test_a_reset_begins_anew(name: str, engine: str) -> None:
    cell, inputs = stirred(KINDS[name](I, H)), torch.randn(B, T, I, requires_grad=True)
    start, resets = random_state(cell), torch.zeros(B, T, dtype=torch.bool)
    resets[0, 3] = resets[0, 4] = resets[1, 6] = resets[2, 0] = resets[2, 5] = True
    outputs, final = recurrence.run(cell, inputs, start, resets=resets, engine=engine)
    for row, begin, end in ((0, 3, 4), (0, 4, 7), (1, 6, 7), (2, 0, 5), (2, 5, 7)):
        alone, last = recurrence.run(cell, inputs[row : row + 1, begin:end], engine="loop")
        close(outputs[row, begin:end], alone[0])
        if end == T:
            close({part: final[part][row] for part in final}, {part: last[part][0] for part in final})
    (reach,) = torch.autograd.grad((outputs[:, 4:] * torch.randn(H)).sum(), inputs)
    assert reach[0, :4].abs().max() < 1e-15 < reach[0, 4:].abs().max()  # the stabiliser cancels but for rounding


@pytest.mark.parametrize(("name", "engine"), product(KINDS, ["fused", "scan"]))
def test_a_reset_behind_a_rows_end_empties_its_state(name: str, engine: str) -> None:
    cell, inputs, lengths = stirred(KINDS[name](I, H)), torch.randn(B, T, I), torch.tensor([2, 0, 7])
    start, resets = random_state(cell), torch.zeros(B, T, dtype=torch.bool)
    resets[0, 5] = resets[2, 6] = True
    results = [recurrence.run(cell, inputs, start, lengths, engine=one, resets=resets) for one in ("loop", engine)]
    close(*results)
    assert not any(part[0].any() for part in results[1][1].values())
    close({part: value[1] for part, value in results[1][1].items()}, {part: start[part][1] for part in cell.states})


# the scan itself ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "block"), [(steps, block) for steps in (1, 2, 5, 9, 16, 37) for block in (2, 3, 5, 40)]
)
def test_blocks_of_any_length_equal_the_steps(steps: int, block: int) -> None:
    a, b = torch.randn(steps - 1, 2, 3), torch.randn(steps, 2, 3)
    expected, states = [b[0]], b.clone()
    for time in range(1, steps):
        expected.append(a[time - 1] * expected[-1] + b[time])
    scan.accumulate(states, a, block)
    close(states, torch.stack(expected))


@pytest.mark.parametrize("name", KINDS)
def test_float32_stays_close_over_long_sequences(name: str) -> None:
    """Gates shut and wide open, 3,000 steps: no quotient and no exponential runs away."""
    cell, inputs = KINDS[name](I, H), 20 * torch.randn(1, 3000, I)
    exact, _ = recurrence.run(cell, inputs, engine="scan")
    outputs, _ = recurrence.run(cell.float(), inputs.float().requires_grad_(), engine="scan")
    outputs.sum().backward()
    torch.testing.assert_close(outputs.double(), exact, rtol=1e-3, atol=1e-3)
    assert all(weight.grad.isfinite().all() for weight in cell.parameters())


@pytest.mark.parametrize("name", KINDS)
def test_mixed_precision_keeps_the_recurrence_in_float32(name: str) -> None:
    cell, inputs = KINDS[name](I, H).float(), torch.randn(B, 50, I, dtype=torch.float32)
    exact, _ = recurrence.run(cell, inputs, engine="scan")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, final = recurrence.run(cell, inputs.bfloat16(), engine="scan")
    assert outputs.dtype == torch.float32 and all(part.dtype == torch.float32 for part in final.values())
    torch.testing.assert_close(outputs, exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", KINDS)
def test_auto_takes_scan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, taken = "chunkwise" if name == "mlstm" else "scan", []
    monkeypatch.setattr(recurrence, engine, lambda *_: taken.append(engine))
    recurrence.run(KINDS[name](I, H), torch.randn(B, T, I))
    assert taken == [engine]


# beginnings, settings ----------------------------------------------------------------------------------------------


def test_decay_begins_between_its_bounds() -> None:
    kept = torch.exp(-8 * torch.nn.functional.softplus(RgLru(I, 500).decay))
    assert 0.9 <= kept.min() < 0.91 and 0.99 < kept.max() <= 0.999


def test_a_qrnn_of_the_settings_has_their_pooling_and_window() -> None:
    cell = cell_maker(settings("cell=qrnn", "cell.pooling=ifo", "cell.window=4").cell)(I, H)
    assert isinstance(cell, InputQrnn) and cell.sizes["window"] == 3 * I


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["cell=mlstm", "cell.heads=3"], "cell.heads=3: allowed is a divisor of model.hidden=256."),
        (["cell=mlstm", "context=initial_state"], "context=initial_state: allowed is another context with cell=mlstm"),
        (["cell=qrnn", "cell.window=1"], "cell.window=1: allowed is a number of at least 2."),
        (["cell=qrnn", "cell.pooling=o"], "cell.pooling=o: allowed is f, fo or ifo"),
    ],
)
def test_mistakes_are_told(overrides: list[str], sentence: str) -> None:
    with pytest.raises(Mistake) as told:
        settings(*overrides)
    assert str(told.value).startswith(sentence)


def test_sharp_gates_of_the_mlstm_do_not_overflow() -> None:
    cell = Mlstm(I, H, heads=2)
    cell.bias_input.data[4 * H : 4 * H + 2] = 2000.0
    outputs, _ = recurrence.run(cell, torch.randn(B, T, I), engine="scan")
    outputs.sum().backward()
    assert outputs.isfinite().all() and outputs.any()


@pytest.mark.parametrize("engine", ["loop", "scan"])
def test_a_closed_mlstm_has_a_derivative(engine: str) -> None:
    """In float32, where exp(-m) is beyond all numbers."""
    cell = Mlstm(I, H, heads=2).float()
    cell.bias_input.data[-4:] = -200.0
    outputs, _ = recurrence.run(cell, torch.randn(2, 5, I, dtype=torch.float32), engine=engine)
    gradients = torch.autograd.grad(outputs.sum(), list(cell.parameters()))
    assert all(part.isfinite().all() for part in (outputs, *gradients))


@pytest.mark.compiled
@pytest.mark.skipif(compiling.why_not_compiled(torch.device("cpu")) is not None, reason="no compiler here")
def test_compiled_kernels_equal_the_scan() -> None:
    cell, inputs = stirred(RgLru(I, H)), torch.randn(B, T, I)
    close(recurrence.run(cell, inputs, engine="fused"), recurrence.run(cell, inputs, engine="scan"))
