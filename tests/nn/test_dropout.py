"""Dropout: where the masks fall, how often, that they reach the raw weights, and that evaluation knows none of it."""

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from tests.conftest import AWD, settings

from throughtime import build, config
from throughtime.build.cells import cell_maker
from throughtime.build.dropout import rates
from throughtime.nn import recurrence
from throughtime.nn.cells import CELLS, LINEAR, Cell, Gru, Lstm
from throughtime.nn.cells.base import CellState
from throughtime.nn.cells.noisy import CandidateDropCell, NoisyCell, VariationalCell, ZoneoutCell
from throughtime.nn.decoder import Decoder
from throughtime.nn.dropout import UnitDropout, WordDropout

MANY = 20_000
ROWS, WIDE = 200, 100  # as many, as rows and units of a cell


def close_share(mask: torch.Tensor, rate: float) -> None:
    """Within five standard deviations of a binomial share."""
    kept, count = float((mask != 0).double().mean()), mask.numel()
    assert abs(kept - (1 - rate)) < 5 * (rate * (1 - rate) / count) ** 0.5


def test_locked_keeps_one_mask_for_all_steps() -> None:
    outputs = UnitDropout(0.3, locked=True)(torch.ones(MANY // 10, 7, 10))
    assert torch.equal(outputs, outputs[:, :1].expand_as(outputs))
    close_share(outputs[:, 0], 0.3)
    torch.testing.assert_close(outputs.unique(), torch.tensor([0.0, 1 / 0.7]))


def test_unlocked_each_step_has_a_mask_of_its_own() -> None:
    outputs = UnitDropout(0.3, locked=False)(torch.ones(MANY // 10, 7, 10))
    close_share(outputs, 0.3)
    both = (outputs[:, 0] != 0) & (outputs[:, 1] != 0)  # independent: a share of 0.7 squared
    close_share(both, 1 - 0.7**2)


def test_a_drawn_mask_serves_all_parts() -> None:
    for drops, parts in (
        (UnitDropout(0.5, locked=True), torch.ones(2, 3, 400)),
        (WordDropout(400, 0.5), torch.ones(2, 400, 3)),
    ):
        drawn, given = drops.draw(parts), () if isinstance(drops, UnitDropout) else (torch.arange(400).repeat(2, 1),)
        assert torch.equal(drops(*given, parts, drawn), drops(*given, parts, drawn))
        assert not torch.equal(drops(*given, parts), drops(*given, parts, drawn))


def test_words_go_as_a_whole() -> None:
    tokens = torch.arange(MANY).repeat(2, 1)
    vectors = WordDropout(MANY, 0.2)(tokens, torch.ones(2, MANY, 3))
    assert torch.equal(vectors[0], vectors[1])
    assert torch.equal(vectors, vectors[..., :1].expand_as(vectors))
    close_share(vectors[0, :, 0], 0.2)


@pytest.mark.parametrize("engine", ["loop", "native", "fused"])
@pytest.mark.parametrize("kind", [Lstm, Gru])
def test_dropped_weights_serve_all_steps_and_the_raw_ones_learn(kind: type[Cell], engine: str) -> None:
    cell = kind(3, 50)
    cell.weight_drop, inputs = 0.4, torch.randn(2, 5, 3)
    drawn = cell.draw(2)
    ((dropped, _),) = drawn.matrices
    close_share(dropped, 0.4)
    outputs, _ = recurrence.run(cell, inputs, engine=engine, drawn=drawn)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), cell.weight_hidden)
    twin = kind(3, 50)
    twin.load_state_dict(cell.state_dict() | {"weight_hidden": dropped.detach()})
    same, _ = recurrence.run(twin, inputs, engine="loop")
    torch.testing.assert_close(outputs, same)
    (inner,) = torch.autograd.grad(same.square().sum(), twin.weight_hidden)
    torch.testing.assert_close(gradient, inner * (dropped != 0) / 0.6)


def test_a_window_loses_the_weights_that_were_drawn() -> None:
    """By every engine the same, which is none of those that are drawn for another run."""
    cell, inputs = cell_maker(settings("cell=qrnn").cell)(3, 20), torch.randn(2, 5, 3)
    cell.weight_drop = 0.4
    first, second = cell.draw(2), cell.draw(2)
    outputs = [recurrence.run(cell, inputs, engine=engine, drawn=first)[0] for engine in ("loop", "scan", "fused")]
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(outputs[2], outputs[0])
    assert not torch.allclose(recurrence.run(cell, inputs, engine="scan", drawn=second)[0], outputs[0])


def units(engine: str, cell: NoisyCell, inputs: torch.Tensor) -> torch.Tensor:
    """The outputs and every gradient of a run under one seed, as one row."""
    torch.manual_seed(5)
    given = inputs.clone().requires_grad_()
    lengths = torch.tensor([inputs.shape[1], *[3] * (len(inputs) - 1)])
    outputs, final = recurrence.run(cell, given, lengths=lengths, engine=engine)
    loss = outputs.square().sum() + sum(part.sin().sum() for part in final.values())
    found = torch.autograd.grad(loss, [given, *cell.parameters()], allow_unused=True)
    return torch.cat([part.flatten() for part in (outputs, *found) if part is not None])


NAMES = [*CELLS, "rnn", "irnn", "mingru", "minlstm", "sru", "rg_lru", "qrnn"]
DISTURBED = [*product(["variational", "zoneout"], NAMES), ("recurrent", "lstm"), ("recurrent", "gru")]


@pytest.mark.parametrize(("kind", "name"), DISTURBED)
def test_every_engine_runs_a_noisy_cell_alike(kind: str, name: str) -> None:
    inner = cell_maker(settings(f"cell={name}").cell)(3, 8)
    makers = {
        "variational": lambda: VariationalCell(inner, 0.3),
        "zoneout": lambda: ZoneoutCell(inner, 0.2, 0.4),
        "recurrent": lambda: CandidateDropCell(inner, 0.3),
    }
    cell, inputs = makers[kind](), torch.randn(3, 5, 3)
    torch.testing.assert_close(units("fused", cell, inputs), units("loop", cell, inputs))


@pytest.mark.parametrize("name", [*CELLS, *LINEAR, "rnn", "qrnn", "mlstm"])
def test_the_schema_knows_which_cells_multiply_a_state(name: str) -> None:
    cell = cell_maker(settings(f"cell={name}").cell)(3, 8)
    assert (not any(len(matrix) for matrix, _ in cell.matrices())) == (name in config.WITHOUT_PRODUCT)
    assert (not any(VariationalCell(cell, 0.3)._masked)) == (name in (*config.WITHOUT_PRODUCT, "qrnn"))


def told(cell: Cell, inputs: torch.Tensor) -> tuple[torch.Tensor, CellState, list[torch.Tensor]]:
    """A run under seed 2, the state that it ends in, and the noise of each step that it drew."""
    torch.manual_seed(2)
    drawn = cell.draw(len(inputs))
    state = torch.get_rng_state()
    noise = cell.with_noise(inputs, drawn)[..., cell.features :]
    torch.set_rng_state(state)
    outputs, final = recurrence.run(cell, inputs, engine="loop", drawn=drawn)
    return outputs, final, list(noise.unbind(1))


def test_variational_dropout_is_gals() -> None:
    cell = VariationalCell(Gru(3, WIDE), 0.4)
    inputs = torch.randn(ROWS, 2, 3)
    outputs, _, masks = told(cell, inputs)
    assert torch.equal(masks[0], masks[1])
    close_share(masks[0], 0.4)
    torch.testing.assert_close(masks[0].unique(), torch.tensor([0.0, 1 / 0.6]))
    h, gru = torch.zeros(ROWS, WIDE), cell.inner
    for time in range(2):
        product = (h * masks[0]) @ gru.weight_hidden.t() + gru.bias_hidden
        h = Gru.step(gru.project(inputs[:, time]), product, {"h": h})["h"]
        torch.testing.assert_close(outputs[:, time], h)


def test_zoneout_keeps_units_at_their_own_rates() -> None:
    cell, inputs = ZoneoutCell(Lstm(3, WIDE), 0.2, 0.5), torch.randn(ROWS, 2, 3)
    outputs, final, noise = told(cell, inputs)
    state = {name: torch.zeros(ROWS, WIDE) for name in "hc"}
    for time in range(2):
        kept = dict(zip("hc", noise[time].split(WIDE, dim=-1), strict=True))
        product = state["h"] @ cell.inner.weight_hidden.t() + cell.inner.bias_hidden
        fresh = Lstm.step(cell.inner.project(inputs[:, time]), product, state)
        state = {name: torch.where(kept[name] == 1, state[name], fresh[name]) for name in "hc"}
        torch.testing.assert_close(outputs[:, time], state["h"])
        close_share(1 - kept["h"], 0.2)
        close_share(1 - kept["c"], 0.5)
    torch.testing.assert_close(final["c"], state["c"])
    close_share((noise[0] == noise[1])[:, :WIDE], 2 * 0.2 * 0.8)  # steps are independent


def test_zoneout_is_its_expectation_in_evaluation() -> None:
    cell, inputs = ZoneoutCell(Gru(3, 6), 0.3, 0.0).eval(), torch.randn(2, 4, 3)
    outputs, _ = recurrence.run(cell, inputs)
    h, gru = torch.zeros(2, 6), cell.inner
    for time in range(4):
        fresh = Gru.step(gru.project(inputs[:, time]), h @ gru.weight_hidden.t() + gru.bias_hidden, {"h": h})["h"]
        h = 0.3 * h + 0.7 * fresh
        torch.testing.assert_close(outputs[:, time], h)


def test_recurrent_dropout_is_of_the_candidate() -> None:
    lstm, gru, inputs = (
        CandidateDropCell(Lstm(3, WIDE), 0.4),
        CandidateDropCell(Gru(3, WIDE), 0.4),
        torch.randn(ROWS, 1, 3),
    )
    _, state, (mask,) = told(lstm, inputs)
    close_share(mask, 0.4)
    i, _, g, o = (lstm.inner.project(inputs[:, 0]) + lstm.inner.bias_hidden).chunk(4, dim=-1)
    c = i.sigmoid() * mask * g.tanh()  # from a memory of zeros
    torch.testing.assert_close(state["c"], c)
    torch.testing.assert_close(state["h"], o.sigmoid() * c.tanh())
    outputs, _, (mask,) = told(gru, inputs)
    r, z, n = gru.inner.project(inputs[:, 0]).chunk(3, dim=-1)
    n = torch.tanh(n + torch.sigmoid(r + gru.inner.bias_hidden[:WIDE]) * gru.inner.bias_hidden[2 * WIDE :])
    torch.testing.assert_close(outputs[:, 0], (1 - z.sigmoid()) * mask * n)


def of_pairs(choice: str) -> list[str]:
    """A `dropout=` that models of pairs have too."""
    return AWD if choice == "awd" else [f"dropout={choice}"]


@pytest.mark.parametrize("choice", ["awd", "variational"])
@pytest.mark.parametrize("form", ["context.query=before", "context.input_feeding=true", "context.query=after"])
def test_a_target_in_parts_has_one_mask(choice: str, form: str) -> None:
    """The decoder draws once for a sentence, whether it comes as a whole, in chunks or step by step."""
    small = ["model.hidden=6", "model.embedding=5", *of_pairs(choice), form]
    model = build.model(settings(*small), {"source": 9, "target": 9})
    decoder, tokens = model.decoder, torch.randint(4, 9, (2, 6))
    noise, start = decoder.draw(2), model.start(tokens, torch.tensor([6, 6]))
    whole, _ = decoder(tokens, start, noise)
    state = start
    for time in range(6):
        readout, state = decoder(tokens[:, time : time + 1], state, noise)
        torch.testing.assert_close(readout[:, 0], whole[:, time])
    chunked, whole = (drawn_once(decoder, partial(decoder.in_chunks, tokens, start, chunk)) for chunk in (2, None))
    torch.testing.assert_close(chunked, whole)


def drawn_once(decoder: Decoder, function: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What a function gives under seed 4, in which the decoder draws no more than once."""
    calls, draw = [], decoder.draw
    decoder.draw = lambda rows: calls.append(rows) or draw(rows)  # type: ignore[method-assign, func-returns-value]
    torch.manual_seed(4)
    found = function()
    decoder.draw = draw  # type: ignore[method-assign]
    assert len(calls) == 1
    return found


def test_a_language_model_draws_anew_for_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build.model(settings("data=stdlib_docs", "model.hidden=6", "dropout=variational"), {"text": 9})
    masks, draw = [], VariationalCell.draw
    monkeypatch.setattr(VariationalCell, "draw", lambda cell, rows: masks.append(draw(cell, rows)) or masks[-1])
    state = None
    for _ in range(2):
        _, state = model(torch.randint(4, 9, (2, 5)), state)
    assert len(masks) == 2
    assert not torch.equal(masks[0].mask, masks[1].mask)


NOISY = ["zaremba", "awd", "variational", "zoneout", "recurrent"]


@pytest.mark.parametrize("choice", NOISY)
def test_the_raw_weights_learn(choice: str) -> None:
    small = ["model.hidden=6", "model.embedding=6", *of_pairs(choice), "model.depth=2"]
    for overrides, vocabulary in ((["data=stdlib_docs"], {"text": 9}), ([], {"source": 9, "target": 9})):
        model = build.model(settings(*overrides, *small), vocabulary)
        tokens = torch.arange(9).repeat(4, 3)
        found = model(tokens)[0] if overrides else model(tokens, torch.full((4,), 27), tokens)
        found.square().sum().backward()
        assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


@pytest.mark.parametrize("choice", ["none", *NOISY])
def test_evaluation_of_a_translator_knows_no_dropout(choice: str) -> None:
    small = ["model.hidden=6", "model.embedding=6", *of_pairs(choice), "context.input_feeding=true"]
    model = build.model(settings(*small), {"source": 9, "target": 9})
    tokens = torch.randint(4, 9, (3, 5))
    runs = [model(tokens, torch.tensor([5, 5, 5]), tokens) for _ in range(2)]
    assert torch.equal(*runs) == (choice == "none")
    model.eval()
    runs = [model(tokens, torch.tensor([5, 5, 5]), tokens) for _ in range(2)]
    assert torch.equal(*runs)


@pytest.mark.parametrize("choice", ["none", *NOISY])
def test_evaluation_knows_no_dropout(choice: str) -> None:
    model = build.model(settings("data=stdlib_docs", "model.hidden=6", f"dropout={choice}"), {"text": 9})
    tokens = torch.randint(0, 9, (2, 5))
    assert torch.equal(model(tokens)[0], model(tokens)[0]) == (choice == "none")
    model.eval()
    assert torch.equal(model(tokens)[0], model(tokens)[0])


def test_which_masks_are_locked() -> None:
    assert rates(settings(*AWD).dropout).dropout(0.5).locked
    assert not rates(settings("dropout=zaremba").dropout).dropout(0.5).locked
