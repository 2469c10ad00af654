"""Contract 2 on whole language models: every `tbptt=` has the gradient that its definition says, in float64."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch
from tests.conftest import settings
from torch import Tensor, nn

from throughtime import build, config
from throughtime.data.batch import TextChunk
from throughtime.data.stream import ChunkLoader
from throughtime.nn.models import LanguageModel
from throughtime.nn.state import detach
from throughtime.train.through_time import Reading, read, read_checkpointed

TEXT = np.array([4 + (7 * place * place + place) % 9 for place in range(50)], dtype=np.uint16)
COLUMNS = 2
NONE = config.NoDropout("none")
AWD = config.Awd("awd", 0.1, 0.2, 0.2, 0.3, 0.4, activation=2.0, temporal=1.0)
CELLS = ["rnn", "lstm", "gru", "mingru", "slstm cell.heads=2"]

pytestmark = pytest.mark.usefixtures("double")


def language_model(*overrides: str) -> LanguageModel:
    small = ["data=stdlib_docs", "model.hidden=6", "model.embedding=5", "model.depth=2"]
    model = build.model(settings(*small, *overrides), {"text": 13})
    assert isinstance(model, LanguageModel)
    return model


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [torch.zeros(()) if weight.grad is None else weight.grad for weight in model.parameters()]


def close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def carried_in(model: LanguageModel, chunk: TextChunk, last: Reading | None) -> object:
    return model.stack.initial_state(COLUMNS) if chunk.first or last is None else last.onward


def chunks_of(tbptt: config.Tbptt, **given: object) -> list[TextChunk]:
    return list(ChunkLoader(TEXT, COLUMNS, tbptt, **given))


def whole_text(model: LanguageModel) -> tuple[Tensor, list[Tensor]]:
    """The summed loss of all columns and its full gradient, by a plain loop over steps."""
    (chunk,) = chunks_of(config.FullBptt("off"))
    state, total = None, torch.zeros(())
    for time in range(chunk.tokens.shape[1]):
        logits, state = model(chunk.tokens[:, time : time + 1], state)
        total = total + nn.functional.cross_entropy(logits[:, 0], chunk.targets[:, time], reduction="sum")
    return total.detach(), gradients(model, total)


@pytest.mark.parametrize(
    ("cell", "tbptt"),
    product(
        CELLS,
        [
            config.FullBptt("off"),
            config.FixedChunks("fixed", 25),
            config.JitteredChunks("jittered", 60),
            config.Windows("windows", 25, 25),
            config.Windows("windows", 30, 80),
            config.CheckpointedBptt("checkpointed", 25),
        ],
    ),
)
def test_a_chunk_as_long_as_the_text_is_full_bptt(cell: str, tbptt: config.Tbptt) -> None:
    model = language_model(f"cell={cell.split()[0]}", *cell.split()[1:])
    total, whole = whole_text(model)
    (chunk,) = chunks_of(tbptt)
    reading = read(model, chunk, carried_in(model, chunk, None), NONE)
    close([reading.total.detach()], [total])
    close(gradients(model, reading.total), whole)


@pytest.mark.parametrize(("cell", "steps"), product(CELLS, [None, 1, 7, 25, 100]))
def test_checkpointed_is_full_bptt(cell: str, steps: int | None) -> None:
    model = language_model(f"cell={cell.split()[0]}", *cell.split()[1:], "model.learned_state=true")
    total, whole = whole_text(model)
    (chunk,) = chunks_of(config.CheckpointedBptt("checkpointed", steps))
    reading = read_checkpointed(model, chunk, model.stack.initial_state(COLUMNS), NONE, steps)
    close([reading.total.detach()], [total])
    close(gradients(model, reading.total), whole)


@pytest.mark.parametrize(("choice", "documents"), product(["dropout=zaremba", "dropout=awd"], [None, [0, 9, 33]]))
def test_checkpointed_draws_its_dropout_once(choice: str, documents: list[int] | None) -> None:
    """The loop over parts without checkpoints, from the same random state, has the same losses and gradients."""
    shape = settings("data=stdlib_docs", choice).dropout
    model = language_model(choice).train()
    (chunk,) = chunks_of(config.FullBptt("off"), documents=documents, reset=True)
    random = torch.get_rng_state()
    state, total, dropped, outputs = model.stack.initial_state(COLUMNS), torch.zeros(()), [], []
    for begin in range(0, 25, 6):
        part = chunk.part(begin, begin + 6)
        out, state = model.outputs(part.tokens, state, part.resets)
        outputs.append(out)
        dropped.append(model.dropout(out))
        logits = model.output(dropped[-1])
        total = total + nn.functional.cross_entropy(logits.flatten(0, 1), part.targets.flatten(), reduction="sum")
    if isinstance(shape, config.Awd):
        smooth = torch.cat(outputs, dim=1).diff(dim=1).square().mean()
        total = total + shape.activation * torch.cat(dropped, dim=1).square().mean() + shape.temporal * smooth
    expected = gradients(model, total)
    torch.set_rng_state(random)
    reading = read_checkpointed(model, chunk, model.stack.initial_state(COLUMNS), shape, 6)
    loss = reading.total + reading.penalty
    torch.rand(3)  # the backward pass finds the random state of the forward pass by itself
    after = torch.get_rng_state()
    close([loss.detach()], [total.detach()])
    close(gradients(model, loss), expected)
    assert torch.equal(torch.get_rng_state(), after)


def plain_windows(model: LanguageModel, stride: int, window: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Williams and Peng 1990 in plain loops, the weights fixed: the loss of each `stride` steps, and its gradient through
    the `window` steps up to there, everything before held constant."""
    (whole,) = chunks_of(config.FullBptt("off"))
    height = whole.tokens.shape[1]
    for end in range(stride, height + stride, stride):
        scored, end = range(end - stride, min(end, height)), min(end, height)
        state = None
        total = torch.zeros(())
        for time in range(end):
            if time == max(0, end - window) and state is not None:
                state = detach(state)
            logits, state = model(whole.tokens[:, time : time + 1], state)
            if time in scored:
                total = total + nn.functional.cross_entropy(logits[:, 0], whole.targets[:, time], reduction="sum")
        yield total.detach(), gradients(model, total)


@pytest.mark.parametrize(("cell", "sizes"), product(CELLS, [(5, 5), (5, 8), (5, 10), (4, 11), (1, 3), (7, 60)]))
def test_windows_have_their_exact_gradient(cell: str, sizes: tuple[int, int]) -> None:
    model, last = language_model(f"cell={cell.split()[0]}", *cell.split()[1:]), None
    chunks = chunks_of(config.Windows("windows", *sizes))
    for chunk, (total, expected) in zip(chunks, plain_windows(model, *sizes), strict=True):
        last = read(model, chunk, carried_in(model, chunk, last), NONE)
        close([last.total.detach()], [total])
        close(gradients(model, last.total), expected)


def test_windows_begin_where_the_weights_before_the_last_step_had_come_to() -> None:
    """While the weights change, a window starts from the state that the window before it had there."""
    model, last, started = language_model(), None, None
    for chunk in chunks_of(config.Windows("windows", 5, 8)):
        state = carried_in(model, chunk, last)
        if started is not None and not chunk.first:
            close([state[1][0]["h"]], [started])
        last = read(model, chunk, state, NONE)
        started = None
        if chunk.onward:
            _, (_, (top,)) = model.outputs(chunk.tokens[:, : chunk.onward], state)
            started = top["h"].detach()
        with torch.no_grad():
            for weight, gradient in zip(model.parameters(), gradients(model, last.total), strict=True):
                weight -= 0.01 * gradient


@pytest.mark.parametrize("tbptt", [config.FixedChunks("fixed", 4), config.Windows("windows", 3, 7)])
def test_documents_are_read_as_if_alone(tbptt: config.Tbptt) -> None:
    """With resets the losses of a text are those of its documents, each behind bos and from a fresh state."""
    model, documents = language_model("model.learned_state=true"), [0, 9, 10, 33]
    total, last = torch.zeros(()), None
    for chunk in list(ChunkLoader(TEXT, 1, tbptt, documents=np.array(documents), reset=True)):
        state = model.stack.initial_state(1) if chunk.first or last is None else last.onward
        last = read(model, chunk, state, NONE)
        total = total + last.total.detach()
    alone = torch.zeros(())
    for begin, end in zip(documents, [*documents[1:], len(TEXT)], strict=True):
        (chunk,) = ChunkLoader(TEXT[begin:end], 1, config.FullBptt("off"))
        alone = alone + read(model, chunk, model.stack.initial_state(1), NONE).total.detach()
    close([total], [alone])
