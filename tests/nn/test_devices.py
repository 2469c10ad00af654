"""Models learn on another device what they learn on the CPU, and never wait for it, where there is no GPU to try it."""

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from tests.conftest import AWD, ROOT, settings
from tests.elsewhere import Device, Elsewhere
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from throughtime import build
from throughtime.data.pairs import collate
from throughtime.nn.engines import fused
from throughtime.nn.models import EncoderDecoder, LanguageModel, PrefixModel
from throughtime.train.output_loss import output_loss

CELLS = [path.stem for path in sorted((ROOT / "conf" / "cell").glob("*.yaml")) if path.stem not in ("own", "mlstm")]
LINEAR = ("mingru", "minlstm", "sru", "qrnn", "rg_lru")
ENGINES = [
    *product(CELLS, ["loop"]),
    *product([cell for cell in CELLS if cell not in ("indrnn", "scrn", *LINEAR)], ["fused"]),
    *product(["rnn", "lstm", "gru"], ["native"]),
    *product(LINEAR, ["scan"]),
    ("mlstm", "auto"),
]
DROPOUTS = ["none", "zaremba", "awd", "variational", "zoneout"]
CONTEXTS = [
    ("general", "engine=native"),
    *product(["initial_state", "every_step", "every_step_output"], [""]),
    *product(["general", "additive", "location", "multihead"], ["", "context.query=before context.input_feeding=true"]),
]
SMALL = ["model.hidden=8", "model.embedding=8", "model.depth=2", "model.learned_state=true"]
ROWS, TIME, WORDS = 3, 5, 13

Learn = Callable[[nn.Module, Callable[[Tensor], Tensor]], Tensor]  # the model, and how tensors come to it -> a loss


def model_of(*overrides: str) -> nn.Module:
    return build.model(settings(*SMALL, *overrides), dict.fromkeys(("source", "target", "text"), WORDS))


def ids(time: int) -> Tensor:
    return torch.randint(4, WORDS, (ROWS, time), generator=torch.Generator().manual_seed(time))


def learns_alike(device: Device, model: nn.Module, learn: Learn) -> None:
    there = copy.deepcopy(model).to("meta")
    loss = learn(model, lambda tensor: tensor)
    loss.backward()
    device.waits.clear()
    loss_there = learn(there, lambda tensor: tensor.to("meta", non_blocking=True))
    loss_there.backward()
    assert not device.waits
    found = [loss_there, *[weight.grad for weight in there.parameters()]]
    assert all(isinstance(one, Elsewhere) for one in found)
    torch.testing.assert_close([one.here for one in found], [loss, *[weight.grad for weight in model.parameters()]])


def test_the_device_refuses_to_be_mixed_and_counts_who_waits(device: Device) -> None:
    there = torch.arange(3.0, device="meta")
    with pytest.raises(AssertionError, match="mixes devices"):
        _ = there + torch.zeros(3)
    assert (there + 1).tolist() == [1, 2, 3]
    assert bool(there.any())
    assert len(there.nonzero()) == len(there[there > 0]) == 2
    assert device.waits.total() == 4


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are traced while the device is switched off, whose tensors have no place in a trace."""
    trace = fused._kernels

    def switched_off(*given: Any) -> Any:
        with _disable_current_modes():
            return trace(*given)

    monkeypatch.setattr(fused, "_kernels", switched_off)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("cell", "engine"), ENGINES)
def test_a_language_model(device: Device, cell: str, engine: str) -> None:
    heads = {"slstm": ["cell.heads=2"], "mlstm": ["cell.heads=2", "model.learned_state=false"]}
    model = model_of("data=stdlib_docs", f"cell={cell}", f"engine={engine}", *heads.get(cell, []))

    def learn(model: LanguageModel, there: Callable[[Tensor], Tensor]) -> Tensor:
        resets = there(torch.eye(ROWS, TIME, dtype=torch.bool))
        first, state = model.outputs(there(ids(TIME)), model.stack.initial_state(ROWS), resets)
        second, _ = model.outputs(there(ids(TIME)), state)
        return output_loss(model.output, torch.cat([first, second], dim=1), there(ids(2 * TIME))).minimised

    learns_alike(device, model, learn)


@pytest.mark.parametrize(("cell", "dropout"), product(["lstm", "highway"], DROPOUTS))
def test_noise_is_made_there(device: Device, cell: str, dropout: str) -> None:
    model = model_of("data=stdlib_docs", f"cell={cell}", f"dropout={dropout}", "engine=loop").to("meta")
    assert isinstance(model, LanguageModel)
    tokens = ids(TIME).to("meta")
    device.waits.clear()
    outputs, _ = model.outputs(tokens)
    model.output(model.dropout(outputs)).sum().backward()
    assert not device.waits


@pytest.mark.parametrize(("context", "form"), CONTEXTS)
@pytest.mark.parametrize("reader", ["recurrent", "convolutional"])
def test_a_translator(device: Device, context: str, form: str, reader: str) -> None:
    options = ["encoder.reverse_source=true", "model.readout=deep", *form.split()]
    model = model_of(*options, f"context={context}", f"encoder={reader}", "model.learned_state=false")

    def learn(model: EncoderDecoder, there: Callable[[Tensor], Tensor]) -> Tensor:
        features = model.features(there(ids(4)), torch.tensor([1, 4, 2]), there(ids(TIME)), chunk=2)
        return output_loss(model.output, features, there(ids(TIME)), 0.1).minimised

    learns_alike(device, model, learn)


@pytest.mark.parametrize("context", ["every_step", "general"])
def test_a_translator_with_words_of_its_own(device: Device, context: str) -> None:
    model = model_of(f"context={context}", *AWD).to("meta")
    assert isinstance(model, EncoderDecoder)
    own = torch.ones(ROWS, TIME, dtype=torch.bool, device="meta")
    source, tokens = ids(4).to("meta"), ids(TIME).to("meta")
    device.waits.clear()
    model.features(source, torch.tensor([1, 4, 2]), tokens, own=own).sum().backward()
    assert not device.waits


def test_a_prefix_model(device: Device) -> None:
    model = model_of("data=stories", "model=prefix_lm", "tokenizer.joint=true")

    def learn(model: PrefixModel, there: Callable[[Tensor], Tensor]) -> Tensor:
        return model(there(ids(4)), torch.tensor([1, 4, 2]), there(ids(TIME))).square().sum()

    learns_alike(device, model, learn)


def test_all_of_a_batch_but_its_lengths_goes_to_the_device() -> None:
    pairs = move_data_to_device(collate([[5, 6], [7]], [[5], [6, 7]]), torch.device("meta"))
    assert pairs.source_lengths.tolist() == [3, 2]
    assert {part.device.type for part in (pairs.source, pairs.tokens, pairs.targets)} == {"meta"}
