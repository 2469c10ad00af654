"""Contracts 2, 3 and 4 on whole models: padding, chunks, truncated gradients, scores."""

from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch
from tests.conftest import ROOT, settings
from tests.search.models import beam, greedy
from torch import Tensor, nn

from throughtime import build
from throughtime.data.batch import IGNORED, PairBatch
from throughtime.data.pairs import collate
from throughtime.data.tokenizer import BOS, EOS
from throughtime.nn.models import EncoderDecoder, LanguageModel
from throughtime.nn.state import detach, map_state
from throughtime.search import search, stepper_of
from throughtime.train.output_loss import output_loss

SMALL = ["model.hidden=6", "model.embedding=5"]
SOURCES = [[4, 5, 6, 7, 8, 9, 4], [10], [6, 5, 11, 12]]
TARGETS = [[5, 6], [9, 8, 7, 6, 5, 4], [10, 4, 4]]

composed = cache(settings)  # composing takes longer than what is tested


def translator(*overrides: str) -> EncoderDecoder:
    model = build.model(composed(*SMALL, *overrides), {"source": 14, "target": 13})
    assert isinstance(model, EncoderDecoder)
    return model


def mixed(*choices: str) -> EncoderDecoder:
    """A translator of several lines of overrides, each composed once for all that share it."""
    config = composed(*SMALL)
    for line in choices:
        changed = composed(*SMALL, *line.split(), *["model.merge=sum"] * (line == "context=dot"))
        sections = ("model", "encoder", "cell", "context")
        config = replace(config, **{name: getattr(changed, name) for name in sections if name in line})
    model = build.model(config, {"source": 14, "target": 13})
    assert isinstance(model, EncoderDecoder)
    return model


def language_model(*overrides: str) -> LanguageModel:
    model = build.model(settings("data=stdlib_docs", *SMALL, *overrides), {"text": 13})
    assert isinstance(model, LanguageModel)
    return model


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


ENCODERS = [
    "model.bidirectional=false",
    "model.depth=2 model.merge=sum model.residual=true encoder.layers=sum",
    "model.readout=deep model.learned_state=true encoder.depth=3 encoder.hidden=4 encoder.layers=concat",
    "encoder.reverse_source=true encoder.hidden=3 model.bridge=copy",
    "encoder=convolutional encoder.layers=sum encoder.depth=3",
    "encoder=convolutional encoder.window=4 encoder.reverse_source=true model.bridge=zero",
]
CONTEXTS = [
    "context=initial_state",
    "context=every_step",
    "context=every_step_output",
    "context=dot",
    "context=general",
    "context=additive",
    "context=location context.window=3",
    "context=multihead context.heads=2",
    "context=general context.input_feeding=true",
    "context=additive context.query=before",
    "context=location context.query=before context.input_feeding=true",
]
EQUALLY_WIDE = [encoder for encoder in ENCODERS if "concat" not in encoder]
PAIRED = [
    pair
    for pair in product(ENCODERS, CONTEXTS)
    if (pair[0] in EQUALLY_WIDE or pair[1] != "context=dot")
    and not ("bridge=zero" in pair[0] and pair[1] == "context=initial_state")
]
CELLS = [f"cell={path.stem}" for path in sorted((ROOT / "conf" / "cell").glob("*.yaml")) if path.stem != "own"]
HEADED = {"cell=slstm": "cell=slstm cell.heads=2", "cell=mlstm": "cell=mlstm cell.heads=2"}
OTHERS = ["cell=projected_lstm", "cell=slstm cell.heads=2", "cell=scrn", "cell=mlstm cell.heads=2"]


def loss(model: EncoderDecoder, batch: PairBatch) -> torch.Tensor:
    """What training minimises, summed."""
    features = model.features(batch.source, batch.source_lengths, batch.tokens)
    return output_loss(model.output, features, batch.targets).minimised


def as_alone(model: EncoderDecoder) -> None:
    """Asserts that a batch of mixed lengths gives each sentence what it gets alone, and the weights the same gradient."""
    batch = collate(SOURCES, TARGETS)
    logits = model(batch.source, batch.source_lengths, batch.tokens)
    loss(model, batch).backward()
    together = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        alone = collate([source], [target])
        single = model(alone.source, alone.source_lengths, alone.tokens)
        close(logits[row, : len(target) + 1], single[0])
        loss(model, alone).backward()
    for one, other in zip(together, (w.grad for w in model.parameters() if w.grad is not None), strict=True):
        close(one, other)


@pytest.mark.parametrize(("encoder", "context"), PAIRED)
def test_a_mixed_batch_is_its_sentences_alone(encoder: str, context: str) -> None:
    for cell in ("cell=lstm", "cell=gru"):
        as_alone(mixed(encoder, context, cell))


@pytest.mark.parametrize("cell", CELLS)
def test_of_every_cell_too(cell: str) -> None:
    as_alone(mixed("context=additive", "model.depth=2", HEADED.get(cell, cell)))


@pytest.mark.parametrize("encoder", ["gru", "rnn", "sru", "mlstm"])
def test_of_different_cells_too(encoder: str) -> None:
    heads = ["encoder.cell.heads=2"] if encoder == "mlstm" else []
    as_alone(translator(f"cell@encoder.cell={encoder}", *heads, "context=initial_state", "encoder.depth=2"))


@pytest.mark.parametrize("context", CONTEXTS)
def test_stepwise_decoding_is_teacher_forcing(context: str) -> None:
    width = "model.merge=sum" if context == "context=dot" else "model.depth=2"
    for cell in ("cell=lstm", *(OTHERS if context in ("context=every_step", "context=additive") else [])):
        model = mixed(width, context, cell)
        batch = collate(SOURCES, TARGETS)
        whole = model(batch.source, batch.source_lengths, batch.tokens)
        state = model.start(batch.source, batch.source_lengths)
        for time in range(batch.tokens.shape[1]):
            readout, state = model.decoder(batch.tokens[:, time : time + 1], state)
            close(model.output(readout[:, 0]), whole[:, time])


@torch.no_grad()
@pytest.mark.parametrize("context", CONTEXTS)
def test_a_stepper_keeps_hypotheses_apart(context: str) -> None:
    """Hypotheses side by side, some left behind and some taken twice, score as their own targets do."""
    model = mixed("model.merge=sum", context).eval()
    stepper, spread = stepper_of(model), torch.tensor([[0, 0], [1, 1], [2, 2]])
    _, state = stepper.start(SOURCES)
    state = stepper.reorder(state, spread)
    first, second = torch.tensor([[5, 6], [7, 8], [9, 10]]), torch.tensor([[11, 12], [4, 5]])
    begin = torch.full_like(first, BOS)
    for tokens in (begin, first):
        _, state = stepper.step(tokens, state)
    state = stepper.reorder(state, torch.tensor([[1, 1], [5, 4]]), torch.tensor([0, 2]))  # sentence 1 is done
    found, _ = stepper.step(second, state)
    histories = [[6, 11], [6, 12], [10, 4], [9, 5]]
    for place, history in enumerate(histories):
        pair = collate([SOURCES[[0, 2][place // 2]]], [history])
        scores = torch.log_softmax(model(pair.source, pair.source_lengths, pair.tokens)[0, -1], dim=-1)
        ours = found.log_probabilities[place // 2, place % 2]
        torch.testing.assert_close(ours[3:], scores[3:].float())  # a search adds up in float32


@pytest.mark.parametrize("kind", ["linear", "copy", "zero"])
def test_bridges_are_their_equations(kind: str) -> None:
    model = translator(f"model.bridge={kind}", "encoder.hidden=3", "encoder.depth=2", "model.depth=3", "cell=lstm")
    batch = collate(SOURCES, TARGETS)
    encoded = model.encoder(batch.source, batch.source_lengths)
    bridge, initial = model.decoder.bridge, model.decoder.stack.initial_state(3)
    for place, origin in enumerate([0, 0, 1]):
        for name in "hc":
            both = torch.cat([side[name] for side in encoded.state[origin]], dim=-1)
            expected = {"copy": both, "zero": torch.zeros(3, 6)}
            if kind == "linear":
                linear = bridge.layers[place][name]
                expected["linear"] = torch.tanh(both @ linear.weight.t() + linear.bias)
            close(bridge(encoded.state, initial)[place][0][name], expected[kind])


def test_only_the_words_of_a_source_are_reversed() -> None:
    reversing, plain = translator("encoder.reverse_source=true"), translator()
    plain.load_state_dict(reversing.state_dict())
    batch = collate(SOURCES, TARGETS)
    backward = collate([source[::-1] for source in SOURCES], TARGETS)
    close(
        reversing(batch.source, batch.source_lengths, batch.tokens),
        plain(backward.source, backward.source_lengths, backward.tokens),
    )


def test_attention_finds_the_words_where_the_source_has_them() -> None:
    reading, plain = translator("encoder.reverse_source=true").encoder, translator().encoder
    plain.load_state_dict(reading.state_dict())
    batch = collate(SOURCES, TARGETS)
    backward = collate([source[::-1] for source in SOURCES], TARGETS)
    found = reading(batch.source, batch.source_lengths).memory
    read = plain(backward.source, backward.source_lengths).memory
    for row, source in enumerate(SOURCES):
        words = len(source)
        close(found[row, :words], read[row, :words].flip(0))
        close(found[row, words:], read[row, words:])


def test_ties_share_their_weights() -> None:
    model = translator("model.tied=true", "model.shared_embedding=true", "tokenizer.joint=true")
    assert model.output.weight is model.decoder.embedding.weight is model.encoder.embedding.weight
    assert translator().output.weight is not translator().decoder.embedding.weight


def test_chunks_leave_the_decoders_values_and_cut_its_gradient() -> None:
    model, batch = translator("context=initial_state"), collate(SOURCES, TARGETS)
    close(
        model(batch.source, batch.source_lengths, batch.tokens, 2),
        model(batch.source, batch.source_lengths, batch.tokens),
    )
    embedded: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        output.retain_grad()
        embedded.append(output)

    model.decoder.embedding.register_forward_hook(keep)
    logits = model(batch.source, batch.source_lengths, batch.tokens, 2)
    logits[:, 3].sum().backward()
    gradients = torch.cat([part.grad if part.grad is not None else torch.zeros_like(part) for part in embedded], dim=1)
    reached = gradients.abs().sum(dim=(0, 2)) > 0
    assert reached.tolist() == [False, False, True, True, False, False, False]


def text_loss(model: LanguageModel, tokens: Tensor, chunk: int) -> Tensor:
    """The summed loss of a text by truncated BPTT, gradients left in the parameters."""
    state, total = None, torch.zeros(())
    for start in range(0, tokens.shape[1] - 1, chunk):
        part = tokens[:, start : min(start + chunk, tokens.shape[1] - 1)]
        logits, state = model(part, state)
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, start + 1 : start + 1 + part.shape[1]].flatten(), reduction="sum"
        )
        loss.backward()
        total, state = total + loss.detach(), detach(state)
    return total


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_one_chunk_as_long_as_the_text_is_full_bptt(cell: str) -> None:
    model, tokens = language_model(f"cell={cell}", "model.depth=2"), torch.randint(4, 13, (3, 12))
    logits, _ = model(tokens[:, :-1])
    whole = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum")
    gradients = torch.autograd.grad(whole, list(model.parameters()))
    losses = {}
    for chunk in (11, 4):
        model.zero_grad()
        losses[chunk] = text_loss(model, tokens, chunk)
        ours = [weight.grad for weight in model.parameters()]
        same = all(
            torch.allclose(one, other, rtol=1e-9, atol=1e-12) for one, other in zip(ours, gradients, strict=True)
        )
        assert same == (chunk == 11)
    close(losses[11], whole.detach())
    close(losses[4], whole.detach())


@pytest.mark.parametrize("search_name", ["beam", "greedy"])
def test_model_search_is_batch_free_and_rescores(search_name: str) -> None:
    model = translator("context=additive", "model.depth=2").eval()
    choice = settings(f"search={search_name}", "search.max_length=8").search
    batch = search(choice, stepper_of(model), SOURCES, torch.Generator())
    for source, found in zip(SOURCES, batch, strict=True):
        (alone,) = search(choice, stepper_of(model), [source], torch.Generator())
        assert [h.tokens for h in alone] == [h.tokens for h in found]
        best = found[0]
        pair = collate([source], [best.tokens])
        scores = torch.log_softmax(model(pair.source, pair.source_lengths, pair.tokens), dim=-1)
        targets = torch.where(pair.targets == IGNORED, EOS, pair.targets)[:, : best.length]
        total = scores[:, : best.length].gather(-1, targets[..., None]).sum().detach()
        assert best.log_probability == pytest.approx(float(total), abs=1e-4)


def test_prompts_of_any_length_continue_as_alone() -> None:
    model = language_model("model.depth=2").eval()
    prompts = [[], [5, 6, 7], [8]]
    choice = beam(5, 3, stop="cutoff", n_best=2)
    together = search(choice, stepper_of(model), prompts, torch.Generator())
    for prompt, found in zip(prompts, together, strict=True):
        (alone,) = search(choice, stepper_of(model), [prompt], torch.Generator())
        assert [h.tokens for h in alone] == [h.tokens for h in found]
        logits, _ = model(torch.tensor([[BOS, *prompt, *found[0].tokens]]))
        scores = torch.log_softmax(logits[0], dim=-1)[len(prompt) :]
        total = sum(
            scores[place, token].item() for place, token in enumerate([*found[0].tokens, EOS][: found[0].length])
        )
        assert found[0].log_probability == pytest.approx(total, abs=1e-4)


def test_the_bridge_keeps_layers_and_directions_apart() -> None:
    model = translator("model.depth=2", "cell=lstm")
    batch = collate(SOURCES, TARGETS)
    encoded = model.encoder(batch.source, batch.source_lengths)
    initial = model.decoder.stack.initial_state(len(SOURCES))
    before = model.decoder.bridge(encoded.state, initial)
    changed = (encoded.state[0], tuple(map_state(lambda t: t + 1, side) for side in encoded.state[1]))
    after = model.decoder.bridge(changed, initial)
    close(before[0][0]["h"], after[0][0]["h"])
    assert not torch.allclose(before[1][0]["h"], after[1][0]["h"])


def test_what_is_not_bridged_begins_afresh() -> None:
    model, batch = translator("cell=slstm", "cell.heads=2"), collate(SOURCES, TARGETS)
    ((state,),) = model.start(batch.source, batch.source_lengths).stack
    fresh = model.decoder.stack.initial_state(len(SOURCES))[0][0]
    assert state["h"].any()
    assert all(torch.equal(state[name], fresh[name]) for name in ("c", "n", "m"))


def test_pad_and_bos_are_never_produced() -> None:
    model = translator().eval()
    with torch.no_grad():
        model.output.bias[:2] = 100.0
    (found,) = search(greedy(5), stepper_of(model), [[4]], torch.Generator())
    assert not {0, 1} & set(found[0].tokens)
