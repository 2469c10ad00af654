"""Contract 1: every cell equals torch's, its equations, and itself by every engine, in chunks and step by step."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from throughtime.nn import recurrence
from throughtime.nn.cells import Cell, Gru, Lstm, ReluRnn, TanhRnn
from throughtime.nn.engines import graphs
from throughtime.nn.stack import Stack
from throughtime.nn.state import detach

CELLS = [TanhRnn, ReluRnn, Lstm, Gru]
ENGINES = ["loop", "native", "fused", "auto"]
B, T, I, H = 3, 7, 5, 4


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def states(state: dict[str, Tensor]) -> list[Tensor]:
    return [state[name] for name in sorted(state)]


def with_random_biases(cell: Cell) -> Cell:
    for bias in (cell.bias_input, cell.bias_hidden):
        nn.init.normal_(bias)
    return cell


def random_state(cell: Cell) -> dict[str, Tensor]:
    return {name: torch.randn(B, H) for name in cell.states}


def torch_twin(cell: Cell) -> nn.RNNBase:
    kinds = {TanhRnn: nn.RNN, ReluRnn: nn.RNN, Lstm: nn.LSTM, Gru: nn.GRU}
    extra = {"nonlinearity": "relu"} if type(cell) is ReluRnn else {}
    twin = kinds[type(cell)](I, H, batch_first=True, **extra)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    ours = (cell.weight_input, cell.weight_hidden, cell.bias_input, cell.bias_hidden)
    twin.load_state_dict(dict(zip(names, ours, strict=True)))
    return twin


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", CELLS)
def test_equals_torch(kind: type[Cell], engine: str) -> None:
    cell = with_random_biases(kind(I, H))
    twin, inputs, state = torch_twin(cell), torch.randn(B, T, I), random_state(cell)
    outputs, final = recurrence.run(cell, inputs, state, engine=engine)
    carried = tuple(state[name][None] for name in cell.states)
    theirs, their_final = twin(inputs, carried if len(carried) > 1 else carried[0])
    close(outputs, theirs)
    for ours, other in zip(
        [final[name] for name in cell.states], their_final if len(carried) > 1 else [their_final], strict=True
    ):
        close(ours, other.squeeze(0))
    outputs.square().sum().backward()
    theirs.square().sum().backward()
    close(cell.weight_hidden.grad, twin.weight_hh_l0.grad)
    close(cell.weight_input.grad, twin.weight_ih_l0.grad)
    close(cell.bias_hidden.grad, twin.bias_hh_l0.grad)


def sigmoid(value: float) -> float:
    return 1 / (1 + 2.718281828459045**-value)


def tanh(value: float) -> float:
    return 2 * sigmoid(2 * value) - 1


def equations(cell: Cell, x: list[float], h: list[float], c: list[float]) -> tuple[list[float], list[float]]:
    """One step of one row, written out number by number from the papers."""

    def product(weight: Tensor, bias: Tensor, vector: list[float]) -> list[float]:
        rows = zip(weight.tolist(), bias.tolist(), strict=True)
        return [sum(w * v for w, v in zip(row, vector, strict=True)) + b for row, b in rows]

    a, r = product(cell.weight_input, cell.bias_input, x), product(cell.weight_hidden, cell.bias_hidden, h)
    new_h, new_c = [], []
    for unit in range(H):
        gate = [a[unit + H * g] + r[unit + H * g] for g in range(cell.gates)]
        if isinstance(cell, Lstm):
            new_c.append(sigmoid(gate[1]) * c[unit] + sigmoid(gate[0]) * tanh(gate[2]))
            new_h.append(sigmoid(gate[3]) * tanh(new_c[-1]))
        elif isinstance(cell, Gru):
            candidate = tanh(a[unit + 2 * H] + sigmoid(gate[0]) * r[unit + 2 * H])
            new_h.append((1 - sigmoid(gate[1])) * candidate + sigmoid(gate[1]) * h[unit])
        else:
            new_h.append(max(0.0, gate[0]) if isinstance(cell, ReluRnn) else tanh(gate[0]))
    return new_h, new_c


@pytest.mark.parametrize("kind", CELLS)
def test_equals_the_equations(kind: type[Cell]) -> None:
    cell, inputs = with_random_biases(kind(I, H)), torch.randn(B, T, I)
    start = random_state(cell)
    outputs, _ = recurrence.run(cell, inputs, start, engine="loop")
    for row in range(B):
        h, c = start["h"][row].tolist(), start["c"][row].tolist() if "c" in start else [0.0] * H
        for time in range(T):
            h, c = equations(cell, inputs[row, time].tolist(), h, c)
            close(outputs[row, time], torch.tensor(h))


@pytest.mark.parametrize("kind", CELLS)
def test_gradcheck(kind: type[Cell]) -> None:
    cell, names = with_random_biases(kind(2, 2)), None
    names = [name for name, _ in cell.named_parameters()]
    inputs = torch.randn(2, 3, 2, requires_grad=True)

    def run(inputs: Tensor, *weights: Tensor) -> Tensor:
        class Given(type(cell)):  # the same cell with the weights handed in
            def __init__(self) -> None:
                nn.Module.__init__(self)
                self.hidden, self.sizes, self.weight_drop = 2, dict.fromkeys(self.states, 2), 0.0
                for name, weight in zip(names, weights, strict=True):
                    object.__setattr__(self, name, weight)

        return recurrence.run(Given(), inputs, lengths=torch.tensor([3, 2]), engine="loop")[0]

    assert torch.autograd.gradcheck(run, (inputs, *(weight.detach().requires_grad_() for weight in cell.parameters())))


GRID = list(product(CELLS, ENGINES, [1, 3], [False, True]))


@pytest.mark.parametrize(("kind", "engine", "depth", "both"), GRID)
def test_engines_agree_on_ragged_batches(kind: type[Cell], engine: str, depth: int, both: bool) -> None:
    reference = Stack(kind, I, [H] * depth, both, engine="loop")
    stack = Stack(kind, I, [H] * depth, both, engine=engine)
    stack.load_state_dict(reference.state_dict())
    inputs, lengths = torch.randn(B, T, I), torch.tensor([7, 2, 5])
    results = [module(inputs, lengths=lengths) for module in (reference, stack)]
    close(results[0][0], results[1][0])
    for ours, theirs in zip(*(final for _, final in results), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            for a, b in zip(states(one), states(other), strict=True):
                close(a, b)
    for outputs, final in results:
        ends = torch.cat(
            [part for layer in final for side in layer for part in states(side)], dim=-1
        )  # as a bridge does
        (outputs.cos().sum() + ends.sin().sum()).backward()
    for one, other in zip(reference.parameters(), stack.parameters(), strict=True):
        close(one.grad, other.grad)


@pytest.mark.parametrize(("kind", "engine", "depth"), product(CELLS, ENGINES, [1, 3]))
@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_and_steps_equal_the_whole(kind: type[Cell], engine: str, depth: int, chunk: int) -> None:
    stack, inputs = Stack(kind, I, [H] * depth, engine=engine), torch.randn(B, T, I)
    whole, final = stack(inputs)
    state, parts = None, []
    for part in inputs.split(chunk, dim=1):
        outputs, state = stack(part, state)
        parts.append(outputs)
        state = detach(state)
    close(torch.cat(parts, dim=1), whole)
    for layer, other in zip(state, final, strict=True):
        for a, b in zip(states(layer[0]), states(other[0]), strict=True):
            close(a, b)


@pytest.mark.parametrize(("kind", "engine", "depth", "both"), GRID)
def test_padding_changes_nothing(kind: type[Cell], engine: str, depth: int, both: bool) -> None:
    stack, lengths = Stack(kind, I, [H] * depth, both, engine=engine), [7, 1, 4]
    inputs = torch.randn(B, T, I)
    outputs, state = stack(inputs, lengths=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone, alone_state = stack(inputs[row : row + 1, :length])
        close(outputs[row, :length], alone[0])
        assert not outputs[row, length:].any()
        for layer, other in zip(state, alone_state, strict=True):
            for one, two in zip(layer, other, strict=True):
                for a, b in zip(states(one), states(two), strict=True):
                    close(a[row], b[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_row_keeps_its_state(engine: str) -> None:
    cell = Lstm(I, H)
    start = random_state(cell)
    outputs, final = recurrence.run(cell, torch.randn(B, T, I), start, torch.tensor([0, 3, 7]), engine=engine)
    assert not outputs[0].any()
    close(final["c"][0], start["c"][0])


def test_initial_biases_open_the_forget_gate() -> None:
    cell = Lstm(I, H)
    assert cell.bias_input.tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H
    block = cell.weight_hidden.detach()[:H]
    close(block @ block.T, torch.eye(H))


@pytest.mark.compiled
@pytest.mark.skipif(graphs.why_not_compiled(torch.device("cpu")) is not None, reason="no compiler here")
@pytest.mark.parametrize("kind", [Lstm, Gru])
def test_compiled_kernels_equal_the_loop(kind: type[Cell]) -> None:
    cell = with_random_biases(kind(I, H))
    for rows in (B, 1, 5):  # one kernel serves them all
        inputs, weights = torch.randn(rows, T, I, requires_grad=True), torch.randn(rows, T, H)
        results = []
        for engine in ("loop", "fused"):
            outputs, final = recurrence.run(cell, inputs, engine=engine)
            loss = (outputs * weights).sum() + sum(part.sin().sum() for part in final.values())
            results.append([outputs, *torch.autograd.grad(loss, [inputs, *cell.parameters()])])
        for ours, theirs in zip(*results, strict=True):
            close(ours, theirs)


@pytest.mark.parametrize(("kind", "engine"), product(CELLS, ENGINES))
def test_a_reset_begins_anew(kind: type[Cell], engine: str) -> None:
    cell, inputs = with_random_biases(kind(I, H)), torch.randn(B, T, I, requires_grad=True)
    resets = torch.zeros(B, T, dtype=torch.bool)
    resets[0, 3] = resets[2, 0] = resets[2, 5] = True
    outputs, final = recurrence.run(cell, inputs, random_state(cell), resets=resets, engine=engine)
    alone, last = recurrence.run(cell, inputs[:1, 3:], engine="loop")
    close(outputs[0, 3:], alone[0])
    close(final["h"][0], last["h"][0])
    close(outputs[2, :5], recurrence.run(cell, inputs[2:, :5], engine="loop")[0][0])
    (reach,) = torch.autograd.grad(outputs[:, 4:].sum(), inputs)
    assert not reach[0, :3].any() and reach[0, 3:].any()
