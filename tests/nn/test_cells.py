"""Contract 1: every cell equals torch's, its equations, and itself by every engine, in chunks and step by step."""

import gc
import weakref
from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from tests.conftest import settings
from tests.nn.equations import EQUATIONS
from torch import Tensor, nn

from throughtime import config
from throughtime.build.cells import cell_maker
from throughtime.nn import recurrence
from throughtime.nn.cells import CELLS, LINEAR, Cell, Gru, LinearCell, Lstm, Mlstm, ReluRnn, Start, TanhRnn
from throughtime.nn.cells.lstm import ProjectedLstm
from throughtime.nn.engines import compiling
from throughtime.nn.engines.fused import Run
from throughtime.nn.engines.native import KERNELS
from throughtime.nn.stack import Stack
from throughtime.nn.state import State, detach

B, T, I, H = 3, 7, 5, 4
OPTIONS = {
    "projected_lstm": {"projection": 3},
    "highway": {"recurrence_depth": 2},
    "slstm": {"heads": 2},
    "scrn": {"slow": 3},
}
KINDS: dict[str, Callable[[int, int], Cell]] = {
    "rnn": TanhRnn,
    "relu_rnn": ReluRnn,
    **{name: partial(kind, **OPTIONS.get(name, {})) for name, kind in CELLS.items()},
}
NATIVE = [name for name, kind in {"rnn": TanhRnn, "relu_rnn": ReluRnn, **CELLS}.items() if kind in KERNELS]
RUNS = [*product(KINDS, ["loop", "fused"]), *product(NATIVE, ["native", "auto"])]
SHAPES = list(product([1, 3], [False, True]))


@pytest.mark.parametrize("name", [*CELLS, *LINEAR, "rnn", "qrnn", "mlstm"])
def test_settings_know_which_engines_run_a_cell(name: str) -> None:
    chosen = settings(f"cell={name}", "cell.heads=2" if name in ("slstm", "mlstm") else "seed=1").cell
    cell = cell_maker(chosen)(I, H)
    runs = {"native": type(cell) in KERNELS, "fused": not isinstance(cell, Mlstm)}
    runs["scan"] = isinstance(cell, LinearCell | Mlstm)
    assert config.engines_of(name) == ["auto", "loop", *(engine for engine, has in runs.items() if has)]


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def all_close(ours: State, theirs: State) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def stirred(module: nn.Module) -> nn.Module:
    """Biases, scales and peepholes away from their 0 and 1."""
    for weight in module.parameters():
        if weight.dim() == 1:
            weight.data += 0.5 * torch.randn_like(weight)
    return module


def random_state(cell: Cell) -> dict[str, Tensor]:
    """A normaliser, as all exponentials, stays above 0."""
    state = {name: torch.randn(B, size) for name, size in cell.sizes.items()}
    return {name: part.exp() if name == "n" else part for name, part in state.items()}


def row(state: State, place: int) -> State:
    """A state of one row."""
    return tuple(
        tuple({name: part[place : place + 1] for name, part in side.items()} for side in layer) for layer in state
    )


def test_every_cell_is_written_out() -> None:
    assert set(EQUATIONS) == set(KINDS)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_equals_the_equations(name: str, fresh: bool) -> None:
    cell, inputs = stirred(KINDS[name](I, H)), torch.randn(B, T, I)
    start = cell.initial_state(B) if fresh else random_state(cell)
    outputs, final = recurrence.run(cell, inputs, start, engine="loop")
    for place in range(B):
        state = {part: start[part][place].tolist() for part in cell.states}
        for time in range(T):
            state = EQUATIONS[name](cell, inputs[place, time].tolist(), state)
            close(outputs[place, time], torch.tensor(state[cell.states[0]]))
        all_close({part: final[part][place] for part in cell.states}, {k: torch.tensor(v) for k, v in state.items()})


TWINS = {"weight_input": "weight_ih_l0", "weight_hidden": "weight_hh_l0", "bias_input": "bias_ih_l0",
         "bias_hidden": "bias_hh_l0", "weight_projection": "weight_hr_l0"}  # fmt: skip


def torch_twin(cell: Cell) -> nn.RNNBase:
    kinds = {TanhRnn: nn.RNN, ReluRnn: nn.RNN, Lstm: nn.LSTM, Gru: nn.GRU, ProjectedLstm: nn.LSTM}
    extra = {ReluRnn: {"nonlinearity": "relu"}, ProjectedLstm: {"proj_size": cell.width}}.get(type(cell), {})
    twin = kinds[type(cell)](I, H, batch_first=True, **extra)
    twin.load_state_dict({TWINS[name]: weight for name, weight in cell.state_dict().items()})
    return twin


@pytest.mark.parametrize(
    ("name", "engine"), [run for run in RUNS if run[0] in NATIVE] + [("projected_lstm", e) for e in ("loop", "fused")]
)
def test_equals_torch(name: str, engine: str) -> None:
    cell = stirred(KINDS[name](I, H))
    twin, inputs, state = torch_twin(cell), torch.randn(B, T, I), random_state(cell)
    outputs, final = recurrence.run(cell, inputs, state, engine=engine)
    carried = tuple(state[part][None] for part in cell.states)
    theirs, their_final = twin(inputs, carried if len(carried) > 1 else carried[0])
    close(outputs, theirs)
    for part, other in zip(cell.states, their_final if len(carried) > 1 else [their_final], strict=True):
        close(final[part], other.squeeze(0))
    outputs.square().sum().backward()
    theirs.square().sum().backward()
    for ours, name in TWINS.items():
        if ours in dict(cell.named_parameters()):
            close(cell.get_parameter(ours).grad, twin.get_parameter(name).grad)


@pytest.mark.parametrize("name", KINDS)
def test_gradcheck(name: str) -> None:
    stack, inputs = stirred(Stack(KINDS[name], 2, [H], engine="loop")), torch.randn(2, 3, 2, requires_grad=True)
    weights = dict(stack.named_parameters())

    def run(inputs: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(weights, values, strict=True))
        outputs, ((final,),) = torch.func.functional_call(stack, given, inputs, {"lengths": torch.tensor([3, 2])})
        return outputs, *final.values()

    assert torch.autograd.gradcheck(run, (inputs, *weights.values()))


@pytest.mark.parametrize(("run", "shape"), product([run for run in RUNS if run[1] != "loop"], SHAPES))
def test_engines_agree(run: tuple[str, str], shape: tuple[int, bool]) -> None:
    name, engine = run
    reference = stirred(Stack(KINDS[name], I, [H] * shape[0], shape[1], engine="loop"))
    stack = Stack(KINDS[name], I, [H] * shape[0], shape[1], engine=engine)
    stack.load_state_dict(reference.state_dict())
    inputs = torch.randn(B, T, I, requires_grad=True)
    for lengths in (None, torch.tensor([7, 2, 5])):
        results = []
        for module in (reference, stack):
            outputs, final = module(inputs, lengths=lengths)
            ends = torch.cat([part for layer in final for side in layer for part in side.values()], dim=-1).sin().sum()
            gradients = torch.autograd.grad(outputs.cos().sum() + ends, [inputs, *module.parameters()])
            results.append((outputs, final, gradients))
        all_close(*results)


@pytest.mark.parametrize(("run", "depth"), product(RUNS, [1, 3]))
def test_chunks_and_steps_equal_the_whole(run: tuple[str, str], depth: int) -> None:
    stack, inputs = stirred(Stack(KINDS[run[0]], I, [H] * depth, engine=run[1])), torch.randn(B, T, I)
    whole, final = stack(inputs)
    for chunk in (1, 3):
        state, parts = None, []
        for part in inputs.split(chunk, dim=1):
            outputs, state = stack(part, state)
            parts.append(outputs)
            state = detach(state)
        close(torch.cat(parts, dim=1), whole)
        all_close(state, detach(final))


@pytest.mark.parametrize(("run", "shape"), product(RUNS, SHAPES))
def test_padding_changes_nothing(run: tuple[str, str], shape: tuple[int, bool]) -> None:
    stack, lengths = stirred(Stack(KINDS[run[0]], I, [H] * shape[0], shape[1], engine=run[1])), [7, 1, 4]
    inputs = torch.randn(B, T, I)
    outputs, state = stack(inputs, lengths=torch.tensor(lengths))
    for place, length in enumerate(lengths):
        alone, last = stack(inputs[place : place + 1, :length])
        close(outputs[place, :length], alone[0])
        assert not outputs[place, length:].any()
        all_close(row(state, place), last)


@pytest.mark.parametrize("name", KINDS)
def test_other_shapes_are_refused(name: str) -> None:
    """Which torch's own kernels take for their own, and read on beyond a tensor's end."""
    cell = KINDS[name](I, H)
    state = cell.initial_state(B)
    wide = {part: torch.cat([tensor, tensor], dim=1) for part, tensor in state.items()}
    few = {part: tensor[1:] for part, tensor in state.items()}
    for engine in ("loop", "native"):
        for features, begun in ((I - 1, state), (I + 1, state), (I, wide), (I, few)):
            with pytest.raises(ValueError, match=type(cell).__name__ if features != I else "state .* of shape"):
                recurrence.run(cell, torch.randn(B, T, features), begun, engine=engine)


@pytest.mark.parametrize(("name", "engine"), RUNS)
def test_an_empty_row_keeps_its_state(name: str, engine: str) -> None:
    cell = KINDS[name](I, H)
    start = random_state(cell)
    outputs, final = recurrence.run(cell, torch.randn(B, T, I), start, torch.tensor([0, 3, 7]), engine=engine)
    assert not outputs[0].any()
    all_close({part: final[part][0] for part in final}, {part: start[part][0] for part in final})


@pytest.mark.parametrize(("name", "engine"), RUNS)
def test_a_reset_begins_anew(name: str, engine: str) -> None:
    cell, inputs = stirred(KINDS[name](I, H)), torch.randn(B, T, I, requires_grad=True)
    resets = torch.zeros(B, T, dtype=torch.bool)
    resets[0, 3] = resets[2, 0] = resets[2, 5] = True
    outputs, final = recurrence.run(cell, inputs, random_state(cell), resets=resets, engine=engine)
    alone, last = recurrence.run(cell, inputs[:1, 3:], engine="loop")
    close(outputs[0, 3:], alone[0])
    close(final["h"][0], last["h"][0])
    close(outputs[2, :5], recurrence.run(cell, inputs[2:, :5], engine="loop")[0][0])
    (reach,) = torch.autograd.grad((outputs[:, 4:] * torch.randn(cell.width)).sum(), inputs)
    assert not reach[0, :3].any() and reach[0, 3:].any()


@pytest.mark.compiled
@pytest.mark.skipif(compiling.why_not_compiled(torch.device("cpu")) is not None, reason="no compiler here")
@pytest.mark.parametrize("name", ["lstm", "gru", "layer_norm_lstm", "slstm"])
def test_compiled_kernels_equal_the_loop(name: str) -> None:
    cell = stirred(KINDS[name](I, H))
    for rows in (B, 1, 5):  # one kernel serves them all
        inputs, weights = torch.randn(rows, T, I, requires_grad=True), torch.randn(rows, T, H)
        results = []
        for engine in ("loop", "fused"):
            outputs, final = recurrence.run(cell, inputs, engine=engine)
            loss = (outputs * weights).sum() + sum(part.sin().sum() for part in final.values())
            results.append([outputs, *torch.autograd.grad(loss, [inputs, *cell.parameters()])])
        all_close(*results)


# how the weights begin -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, torch.tensor([7, 3, 5])], ids=["full", "padded"])
def test_a_run_goes_with_its_outputs(lengths: Tensor | None) -> None:
    forward = partial(recurrence.run, Lstm(I, H), torch.randn(B, T, I), lengths=lengths, engine="fused")
    forward()  # here the kernels are traced, which leaves cycles
    gc.collect()
    gc.disable()
    try:
        outputs, _ = forward()
        outputs.sum().backward()
        (run,) = [weakref.ref(thing) for thing in gc.get_objects() if type(thing) is Run]
        del outputs, _
        assert run() is None
    finally:
        gc.enable()


def test_initial_biases_open_the_forget_gate() -> None:
    cell = Lstm(I, H)
    assert cell.bias_input.tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H
    block = cell.weight_hidden.detach()[:H]
    close(block @ block.T, torch.eye(H))


@pytest.mark.parametrize("name", CELLS)
def test_yaml_and_class_begin_alike(name: str) -> None:
    """What a cell is built with in Python is what its YAML file says."""
    overrides = [f"cell.{option}={value}" for option, value in OPTIONS.get(name, {}).items()]
    torch.manual_seed(1)
    ours = cell_maker(settings(f"cell={name}", *overrides).cell)(I, H).state_dict()
    torch.manual_seed(1)
    all_close(ours, KINDS[name](I, H).state_dict())


def kept_share(name: str, **start: float) -> Tensor:
    """How much of a state stays in one step without inputs, unit by unit; gate biases alone decide it."""
    cell = CELLS[name](I, H, Start(**start), **OPTIONS.get(name, {}))
    for weight in cell.parameters():
        if weight.dim() == 2:
            weight.data.zero_()
    state = {part: torch.ones(1, size) for part, size in cell.sizes.items()}
    _, after = recurrence.run(cell, torch.zeros(1, 1, I), state, engine="loop")
    return after["c" if "c" in after else "h"][0]


FORGETTING = [name for name, kind in CELLS.items() if kind.keeps is not None or kind.writes is not None]


@pytest.mark.parametrize("name", [name for name in FORGETTING if name != "slstm"])
def test_the_forget_bias_is_the_share_that_stays(name: str) -> None:
    layers = OPTIONS["highway"]["recurrence_depth"] if name == "highway" else 1
    close(kept_share(name, forget_bias=1.5), torch.sigmoid(torch.tensor(1.5)).expand(H) ** layers)


@pytest.mark.parametrize("name", FORGETTING)
def test_chrono_spreads_the_time_scales(name: str) -> None:
    """sigmoid(log u) = u / (1 + u): a unit forgets over 1 + u steps, u ~ U(1, T - 1); the writing gate is the opposite."""
    cell = CELLS[name](I, 500, Start(chrono=40.0), **OPTIONS.get(name, {}))
    gates = cell.bias_input.detach().split(500)
    steps = 1 + (-gates[cell.writes] if cell.keeps is None else gates[cell.keeps]).exp()
    assert 2 <= steps.min() < 4 and 38 < steps.max() <= 40
    assert abs(float(steps.mean()) - 21) < 5 * 38 / (12 * 500) ** 0.5
    if cell.keeps is not None and cell.writes is not None:
        close(gates[cell.writes], -gates[cell.keeps])


@pytest.mark.parametrize("name", ["lstm", "projected_lstm", "highway", "slstm", "scrn"])
def test_recurrent_weights_begin_as_chosen(name: str) -> None:
    def blocks(recurrent: str) -> list[Tensor]:
        weight = CELLS[name](I, H, Start(recurrent=recurrent), **OPTIONS.get(name, {})).weight_hidden.detach()
        return list(weight.split(weight.shape[1] if name == "slstm" else H))

    for block in blocks("identity"):
        close(block, torch.eye(*block.shape))
    for block in blocks("orthogonal"):
        close(block @ block.T if len(block) < block.shape[1] else block.T @ block, torch.eye(min(block.shape)))
    for block in blocks("uniform"):
        assert 0 < block.abs().max() <= len(block) ** -0.5


def test_irnn_keeps_its_state_at_first() -> None:
    cell = cell_maker(settings("cell=irnn").cell)(I, H)
    state = {"h": torch.rand(B, H)}
    close(recurrence.run(cell, torch.zeros(B, T, I), state)[1]["h"], state["h"])


def test_the_stabiliser_holds_where_the_exponential_would_overflow() -> None:
    cell = CELLS["slstm"](I, H)
    cell.bias_input.data[:H] = 2000.0
    outputs, final = recurrence.run(cell, torch.randn(B, T, I), engine="loop")
    outputs.sum().backward()
    assert outputs.isfinite().all() and (final["n"] >= 1).all()
    assert all(weight.grad.isfinite().all() for weight in cell.parameters())


def test_auto_says_nothing_of_a_batch_that_torch_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A row without a step is the loop's, which nobody asked to be another's."""
    with torch.no_grad():
        outputs, _ = recurrence.run(Lstm(3, 4), torch.randn(2, 3, 3), lengths=torch.tensor([0, 3]))
    assert not outputs[0].any() and outputs[1].any()
    assert not capsys.readouterr().err
