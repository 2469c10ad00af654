"""Models make whatever they need on the device of their weights, where there is no GPU to try it: on torch's device `meta`,
whose tensors have no values, and which refuses to be mixed with the CPU."""

from itertools import product

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from tests.conftest import AWD, ROOT, settings

from throughtime import build
from throughtime.data.pairs import collate
from throughtime.nn.models import EncoderDecoder, LanguageModel, PrefixModel

CELLS = [path.stem for path in sorted((ROOT / "conf" / "cell").glob("*.yaml")) if path.stem not in ("own", "mlstm")]
DROPOUTS = ["none", "zaremba", "awd", "variational", "zoneout"]
CONTEXTS = [
    *product(["initial_state", "every_step", "every_step_output"], [""]),
    *product(["general", "additive", "location", "multihead"], ["", "context.query=before context.input_feeding=true"]),
]
SMALL = ["engine=loop", "model.hidden=8", "model.embedding=8", "model.depth=2", "model.learned_state=true"]
ROWS, TIME, WORDS = 3, 5, 13


def on_meta(*overrides: str) -> torch.nn.Module:
    chosen = settings(*SMALL, *overrides)
    return build.model(chosen, dict.fromkeys(("source", "target", "text"), WORDS)).to("meta")


def ids(time: int) -> torch.Tensor:
    return torch.zeros(ROWS, time, dtype=torch.long, device="meta")


def learns(model: torch.nn.Module, logits: torch.Tensor) -> None:
    logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_the_device_refuses_to_be_mixed() -> None:
    with pytest.raises(RuntimeError):
        _ = torch.zeros(3, device="meta") + torch.zeros(3)


@pytest.mark.parametrize(("cell", "dropout"), [*product(CELLS, ["none"]), *product(["lstm", "highway"], DROPOUTS)])
def test_a_language_model(cell: str, dropout: str) -> None:
    heads = ["cell.heads=2"] if cell == "slstm" else []
    engine = ["engine=scan"] if cell in ("mingru", "minlstm", "sru", "qrnn", "rg_lru") else []
    model = on_meta("data=stdlib_docs", f"cell={cell}", f"dropout={dropout}", *heads, *engine)
    assert isinstance(model, LanguageModel)
    resets = torch.zeros(ROWS, TIME, dtype=torch.bool, device="meta")
    outputs, state = model.outputs(ids(TIME), model.stack.initial_state(ROWS), resets)
    outputs, _ = model.outputs(ids(TIME), state)
    learns(model, model.output(model.dropout(outputs)))


@pytest.mark.parametrize(("context", "form"), CONTEXTS)
@pytest.mark.parametrize("reader", ["recurrent", "convolutional"])
def test_a_translator(context: str, form: str, reader: str) -> None:
    options = ["encoder.reverse_source=true", "model.readout=deep", *AWD, *form.split()]
    model = on_meta(*options, f"context={context}", f"encoder={reader}", "model.learned_state=false")
    assert isinstance(model, EncoderDecoder)
    own = torch.zeros(ROWS, TIME, dtype=torch.bool, device="meta")
    lengths = torch.tensor([1, 4, 2])
    features = model.features(ids(4), lengths, ids(TIME), chunk=2)
    features = features + model.features(ids(4), lengths, ids(TIME), own=own)
    learns(model, model.output(features))


def test_a_prefix_model() -> None:
    model = on_meta("data=stories", "model=prefix_lm", "tokenizer.joint=true", "dropout=variational")
    assert isinstance(model, PrefixModel)
    learns(model, model(ids(4), torch.tensor([1, 4, 2]), ids(TIME)))


def test_all_of_a_batch_but_its_lengths_goes_to_the_device() -> None:
    pairs = move_data_to_device(collate([[5, 6], [7]], [[5], [6, 7]]), torch.device("meta"))
    assert pairs.source_lengths.tolist() == [3, 2]
    assert {part.device.type for part in (pairs.source, pairs.tokens, pairs.targets)} == {"meta"}
