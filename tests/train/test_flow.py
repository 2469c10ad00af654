"""The gradient's way back, against derivatives written out by hand."""

import csv
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.conftest import FEW_NUMBERS, settings

from throughtime import build
from throughtime.data.batch import IGNORED, PairBatch, TextChunk
from throughtime.nn import recurrence
from throughtime.nn.cells import Cell, Gru
from throughtime.nn.models import EncoderDecoder, LanguageModel
from throughtime.train.flow import FAINT, Flow, gradient_flow, reach

WORDS, T = 11, 6
CELLS = ["rnn", "lstm", "gru", "highway", "minlstm", "qrnn", "mlstm"]


@pytest.fixture(autouse=True)
def in_double(double: None) -> None:
    pass


def text_model(cell: str, *more: str) -> LanguageModel:
    heads = ["cell.heads=2"] if cell == "mlstm" else []
    small = ["data=stdlib_docs", "model.hidden=4", "model.embedding=3", "model.depth=2", "dropout=zaremba"]
    model = build.model(settings(*small, f"cell={cell}", *heads, *more), {"text": WORDS})
    assert isinstance(model, LanguageModel)
    return model


def text(rows: int = 3) -> TextChunk:
    tokens = torch.randint(4, WORDS, (rows, T + 1))
    return TextChunk(tokens[:, :-1], tokens[:, 1:], True, T)


@pytest.mark.parametrize("cell", CELLS)
def test_is_the_gradient_by_each_output(cell: str) -> None:
    """The loss as a function of what a layer gives after a step, the rest of the row being read from there."""
    model, batch = text_model(cell), text()
    flows = {(flow.layer, flow.state): flow.norms for flow in gradient_flow(model, batch, rows=3, steps=T - 1)}
    model.eval()
    for layer, back in product(range(2), range(T)):
        norms = [norm_by_output(model, batch, row, layer, back) for row in range(3)]
        found = flows[f"stack.layers.{layer}", cell_of(model, layer).states[0]][back]
        assert found == pytest.approx(sum(norms) / 3, rel=1e-9, abs=1e-14)


def test_nothing_flows_to_before_a_document_begins() -> None:
    model, batch = text_model("lstm"), text()
    resets = torch.zeros(3, T, dtype=torch.bool)
    resets[1, T - 2] = resets[2, 1] = True
    flows = gradient_flow(model, batch._replace(resets=resets), rows=3, steps=T - 1)
    for row, behind in ((1, 2), (2, T - 1)):
        alone = batch._replace(
            tokens=batch.tokens[row : row + 1], targets=batch.targets[row : row + 1], resets=resets[row : row + 1]
        )
        for flow in gradient_flow(model, alone, rows=1, steps=T - 1):
            assert all(flow.norms[:behind]) and not any(flow.norms[behind:])
    whole = {(flow.layer, flow.state): flow.norms for flow in gradient_flow(model, batch, rows=1, steps=T - 1)}
    first = {(flow.layer, flow.state): flow.norms for flow in flows}
    assert all(first[key][-1] == pytest.approx(norms[-1] / 3) for key, norms in whole.items())


def cell_of(model: LanguageModel, layer: int) -> Cell:
    return model.stack.layers[layer].cells[0]  # type: ignore[union-attr, index, return-value]


def norm_by_output(model: LanguageModel, batch: TextChunk, row: int, layer: int, back: int) -> float:
    """The layers below do not see a layer's output; those above see it step by step."""
    tokens, here, cell = batch.tokens[row : row + 1], T - 1 - back, cell_of(model, layer)
    words = model.embedding(tokens)
    below = words if layer == 0 else model.stack.layered(words)[0][layer - 1]
    before = cell.initial_state(1)
    if here:
        _, before = recurrence.run(cell, below[:, :here], before, engine="loop")
    _, after = recurrence.run(cell, below[:, here : here + 1], before, engine="loop")
    leaf = after[cell.states[0]].detach().requires_grad_()
    outputs = leaf[:, None]
    if back:
        given = {name: part.detach() for name, part in after.items()} | {cell.states[0]: leaf}
        rest, _ = recurrence.run(cell, below[:, here + 1 :], given, engine="loop")
        outputs = torch.cat([outputs, rest], dim=1)
    if layer == 0:
        above, earlier = cell_of(model, 1), cell_of(model, 1).initial_state(1)
        if here:
            first, _ = recurrence.run(cell, below[:, :here], engine="loop")
            _, earlier = recurrence.run(above, first, engine="loop")
        outputs, _ = recurrence.run(above, outputs, earlier, engine="loop")
    loss = F.cross_entropy(model.output(outputs[:, -1]), batch.targets[row, -1:])
    (gradient,) = torch.autograd.grad(loss, [leaf], allow_unused=True)
    return 0.0 if gradient is None else float(gradient.norm())


def test_is_that_of_the_equations_of_the_lstm() -> None:
    """dL/dc_t = dL/dh_t o_t (1 - tanh^2 c_t) + dL/dc_{t+1} f_{t+1}, and dL/dh_{t-1} = R^T of the gates' derivatives."""
    model, batch = text_model("lstm", "model.depth=1").eval(), text(rows=1)
    flows = {flow.state: flow.norms for flow in gradient_flow(model, batch, rows=1, steps=T - 1)}
    cell = cell_of(model, 0)
    with torch.no_grad():
        h, c, steps = torch.zeros(4), torch.zeros(4), []
        for x in model.embedding(batch.tokens[0]):
            products = cell.project(x) + cell.weight_hidden @ h + cell.bias_hidden
            i, f, g, o = products.sigmoid()[:4], products.sigmoid()[4:8], products[8:12].tanh(), products.sigmoid()[12:]
            before, c = c, f * c + i * g
            h = o * c.tanh()
            steps.append((i, f, g, o, before, c))
        found = model.output(h).softmax(-1)
        found[batch.targets[0, -1]] -= 1
        by_h, by_c = model.output.weight.T @ found, torch.zeros(4)
        for back, (i, f, g, o, before, c) in enumerate(reversed(steps)):
            by_c = by_c + by_h * o * (1 - c.tanh() ** 2)
            assert flows["h"][back] == pytest.approx(float(by_h.norm()), rel=1e-9)
            assert flows["c"][back] == pytest.approx(float(by_c.norm()), rel=1e-9)
            by_o, by_i, by_f, by_g = by_h * c.tanh(), by_c * g, by_c * before, by_c * i
            gates = [by_i * i * (1 - i), by_f * f * (1 - f), by_g * (1 - g**2), by_o * o * (1 - o)]
            by_h, by_c = cell.weight_hidden.T @ torch.cat(gates), by_c * f


@pytest.mark.parametrize("context", ["initial_state", "general"])
def test_goes_through_a_translator_without_padding(context: str) -> None:
    """A row alone, whatever stands beside it; and attention is a shorter way to the source."""
    small = ["model.hidden=4", "model.embedding=3", f"context={context}", "model.depth=2"]
    model = build.model(settings(*small), {"source": WORDS, "target": WORDS})
    assert isinstance(model, EncoderDecoder)
    long, short = pair(7, 5), pair(4, 3)
    padded = together(long, short)
    ours = {(flow.layer, flow.state): flow.norms for flow in gradient_flow(model, padded, rows=2, steps=99)}
    parts = [{(f.layer, f.state): f.norms for f in gradient_flow(model, one, 1, 99)} for one in (long, short)]
    assert {layer.partition(".")[0] for layer, _ in ours} == {"encoder", "decoder"}
    assert {layer.rpartition(".")[2] for layer, _ in ours if layer.startswith("encoder")} == {"forward", "backward"}
    for key, norms in ours.items():
        first, second = (part[key] for part in parts)
        assert len(norms) == len(first) > len(second)
        expected = [(a + b) / 2 for a, b in zip(first, second, strict=False)] + first[len(second) :]
        assert norms == pytest.approx(expected, rel=1e-9)
        assert all(norms)


def pair(read: int, written: int) -> PairBatch:
    source, target = torch.randint(4, WORDS, (1, read)), torch.randint(4, WORDS, (1, written))
    tokens = torch.cat([torch.tensor([[2]]), target[:, :-1]], dim=1)
    return PairBatch(source, torch.tensor([read]), tokens, target)


def together(long: PairBatch, short: PairBatch) -> PairBatch:
    def joined(name: str, filler: int) -> torch.Tensor:
        one, other = getattr(long, name), getattr(short, name)
        return torch.cat([one, F.pad(other, (0, one.shape[1] - other.shape[1]), value=filler)])

    lengths = torch.cat([long.source_lengths, short.source_lengths])
    return PairBatch(joined("source", 0), lengths, joined("tokens", 0), joined("targets", IGNORED))


def test_the_model_stays_as_it_is() -> None:
    model, batch = text_model("lstm"), text()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    random = torch.get_rng_state()
    gradient_flow(model, batch, rows=2, steps=4)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


class Counting(Gru):
    """A cell with a state that no gradient reaches."""

    states = ("h", "count")

    @staticmethod
    def step(inputs: torch.Tensor, recurrent: torch.Tensor, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**Gru.step(inputs, recurrent, state), "count": state["count"].detach() + 1}


def test_a_state_may_have_nothing_to_do_with_the_loss() -> None:
    model, batch = text_model("gru", "model.depth=1"), text()
    model.stack.layers[0].cells[0] = Counting(3, 4)  # type: ignore[union-attr, operator]
    flows = {flow.state: flow.norms for flow in gradient_flow(model, batch, rows=3, steps=T - 1)}
    assert all(flows["h"]) and not any(flows["count"])


def test_reach_is_the_last_step_that_counts() -> None:
    flows = [
        Flow("a", "h", [1.0, 0.5, FAINT / 2, 0.0]),
        Flow("a", "c", [2.0, 1.0, 1.0, 0.01]),
        Flow("b", "h", [0.0, 0.0]),
    ]
    assert reach(flows) == {"a": 2, "b": 0}


def test_a_run_is_the_same_with_and_without_it(train: Callable[..., Path], story: Path) -> None:
    torch.set_default_dtype(torch.float32)
    common = [
        "data=text",
        f"data.path={story}",
        "tbptt.chunk=16",
        "dropout=zaremba",
        "trainer.epochs=2",
        "tracking=csv",
        "flow.steps=8",
    ]
    folders = [train(*common, f"flow.rows={rows}", folder=f"rows-{rows}") for rows in (0, 3)]
    weights = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in folders]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    without, with_it = folders
    assert not (without / "gradient_flow.jsonl").exists()
    lines = [json.loads(line) for line in (with_it / "gradient_flow.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["layer"], line["state"]) for line in lines] == [
        (epoch, "stack.layers.0", state) for epoch in (0, 1) for state in ("h", "c")
    ]
    assert all(len(line["norms"]) == 9 for line in lines)
    assert (with_it / "gradient_flow.csv").read_text().startswith("step,steps back,stack.layers.0 h,stack.layers.0 c\n")
    with (with_it / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    places = [
        [(row["epoch"], row["step"]) for row in rows if row[name]]
        for name in ("gradients/reach/stack.layers.0", "val/loss")
    ]
    assert places[0] == places[1] and len(places[0]) == 2


def test_follows_a_translator_in_a_run(train: Callable[..., Path]) -> None:
    torch.set_default_dtype(torch.float32)
    folder = train(*FEW_NUMBERS, "flow.rows=1", "trainer.epochs=2")
    assert (folder / "gradient_flow.png").stat().st_size > 1000
    layers = {json.loads(line)["layer"] for line in (folder / "gradient_flow.jsonl").read_text().splitlines()}
    assert layers == {
        "encoder.reader.stack.layers.0.forward",
        "encoder.reader.stack.layers.0.backward",
        "decoder.stack.layers.0",
    }
