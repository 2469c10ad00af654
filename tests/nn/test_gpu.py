"""Contract 1 on a GPU, where there is one: every engine equals the loop there, and the loop there that on the CPU."""

import copy
from collections.abc import Iterator

import pytest
import torch
from tests.nn.test_cells import KINDS, NATIVE, H, I, T, stirred
from tests.nn.test_linear import KINDS as SCANNED
from tests.nn.test_replay import learned
from torch import Tensor

from throughtime.nn import recurrence
from throughtime.nn.cells import Lstm
from throughtime.nn.engines import replay

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]
B = 5


@pytest.fixture(autouse=True)
def all_recorded() -> Iterator[None]:
    yield
    assert not replay.Tapes.refused


def batch(masked: bool, device: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Inputs, lengths (which stay on the CPU) and resets."""
    inputs, lengths, resets = torch.randn(B, T, I), torch.randint(0, T + 1, (B,)), torch.rand(B, T) < 0.2
    return inputs.to(device), {"lengths": lengths, "resets": resets.to(device)} if masked else {}


@pytest.mark.parametrize("name", [*KINDS, *SCANNED])
def test_the_loop_equals_that_on_the_cpu(name: str) -> None:
    cell = stirred((KINDS | SCANNED)[name](I, H))
    inputs, options = batch(True, "cpu")
    there = options | {"resets": options["resets"].cuda()}
    ours = learned(copy.deepcopy(cell).cuda(), "loop", inputs.cuda(), **there)
    torch.testing.assert_close([part.cpu() for part in ours], learned(cell, "loop", inputs, **options))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_fused_equals_the_loop(name: str, masked: bool) -> None:
    """First launched, then recorded, then replayed."""
    cell = stirred(KINDS[name](I, H)).cuda()
    for _ in range(4):
        for weight in cell.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
        inputs, options = batch(masked, "cuda")
        torch.testing.assert_close(learned(cell, "fused", inputs, **options), learned(cell, "loop", inputs, **options))


def test_recorded_runs_wait_for_their_backward_pass() -> None:
    cell, batches = Lstm(I, H).cuda(), torch.randn(4, B, T, I, device="cuda")
    expected = [
        torch.autograd.grad(recurrence.run(cell, x, engine="loop")[0].sum(), cell.weight_hidden) for x in batches
    ]
    for _ in range(3):
        runs = [recurrence.run(cell, x, engine="fused")[0].sum() for x in batches]
        for place in (3, 0, 2, 1):
            found = torch.autograd.grad(runs[place], cell.weight_hidden)
            torch.testing.assert_close(found, expected[place])


@pytest.mark.parametrize("name", SCANNED)
def test_scan_equals_the_loop(name: str) -> None:
    cell = stirred(SCANNED[name](I, H)).cuda()
    inputs, options = batch(True, "cuda")
    torch.testing.assert_close(learned(cell, "scan", inputs, **options), learned(cell, "loop", inputs, **options))


@pytest.mark.parametrize("name", NATIVE)
def test_native_equals_the_loop_in_training_and_evaluation(name: str) -> None:
    cell = stirred(KINDS[name](I, H)).cuda()
    inputs, options = batch(True, "cuda")
    lengths = options["lengths"].clamp(min=1)
    for training in (True, False):  # cuDNN tells them apart
        cell.train(training)
        ours = learned(cell, "native", inputs, lengths=lengths)
        torch.testing.assert_close(ours, learned(cell, "loop", inputs, lengths=lengths))


@pytest.mark.parametrize(
    ("name", "engine"),
    [("lstm", "native"), *((name, "fused") for name in ("lstm", "gru", "layer_norm_lstm", "slstm"))],
)
def test_bf16_is_near_float32(name: str, engine: str) -> None:
    cell = stirred(KINDS[name](I, H)).float().cuda()
    for _ in range(3):
        inputs = torch.randn(B, T, I, dtype=torch.float32, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            ours = learned(cell, engine, inputs)
        for low, full in zip(ours, learned(cell, "loop", inputs), strict=True):
            assert (low.float() - full).norm() < 0.1 * full.norm()
