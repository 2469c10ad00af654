"""A model made ready steps as the model itself does, and a lower precision stays near it."""

import pytest
import torch
from tests.conftest import AWD, settings
from torch import Tensor, nn

from throughtime import build, config
from throughtime.nn.models import EncoderDecoder, LanguageModel
from throughtime.nn.precision import chosen, product, why_not
from throughtime.nn.ready import ready
from throughtime.search import search, stepper_of

CELLS = [
    "rnn",
    "lstm",
    "gru",
    "cho_gru",
    "highway",
    "projected_lstm",
    "multiplicative_lstm",
    "mingru",
    "indrnn",
    "mlstm",
]
SOURCE, LENGTHS, TOKENS = torch.randint(4, 20, (3, 5)), torch.tensor([5, 3, 1]), torch.randint(4, 20, (3, 6))
LOWER = [precision for precision in ("bf16", "int8") if why_not(precision, torch.device("cpu")) is None]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def single(double: None) -> None:
    """The packed products are those of float32."""
    torch.set_default_dtype(torch.float32)


def built(*overrides: str) -> nn.Module:
    torch.manual_seed(3)
    chosen = settings("model.hidden=8", "model.embedding=6", "model.depth=2", *overrides)
    return build.model(chosen, {"text": 20, "source": 20, "target": 20}).eval()


def stepped(model: EncoderDecoder) -> Tensor:
    state, logits = model.start(SOURCE, LENGTHS), []
    for token in TOKENS.split(1, dim=1):
        readout, state = model.decoder(token, state)
        logits.append(model.output(readout))
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("cell", CELLS)
def test_a_ready_model_steps_as_the_model(cell: str) -> None:
    model = built(f"cell={cell}", "data=number_words", "context=general")
    with torch.no_grad():
        torch.testing.assert_close(stepped(ready(model, "float32")), stepped(model), atol=1e-5, rtol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "choice",
    [
        ["context=initial_state"],
        ["context=every_step"],
        ["context=every_step_output"],
        ["context=location"],
        ["context=multihead", "context.heads=2", "encoder.hidden=4"],
        ["context=additive", "context.query=before", "context.input_feeding=true", "model.readout=maxout"],
        ["model.readout=deep", "model.embedding=8"],
        ["model.residual=true", "model.embedding=8"],
    ],
    ids=" ".join,
)
def test_a_ready_model_steps_in_every_form(choice: list[str]) -> None:
    model = built("data=number_words", *choice)
    with torch.no_grad():
        torch.testing.assert_close(stepped(ready(model, "float32")), stepped(model), atol=1e-5, rtol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "choice",
    [
        ["model.residual=false"],
        ["model.residual=true", "model.embedding=8"],
        ["model.residual=true", "cell=rnn"],  # the second layer alone
        ["model.tied=true", "model.embedding=8"],
    ],
    ids=" ".join,
)
def test_a_ready_language_model_steps_on(choice: list[str], story: object) -> None:
    model = built("data=text", f"data.path={story}", *choice)
    prepared = ready(model, "float32")
    assert isinstance(model, LanguageModel)
    assert isinstance(prepared, LanguageModel)
    with torch.no_grad():
        whole, _ = model(TOKENS)
        first, state = model(TOKENS[:, :3])
        rest = [first]
        for token in TOKENS[:, 3:].split(1, dim=1):
            found, state = prepared(token, state)
            rest.append(found)
    torch.testing.assert_close(torch.cat(rest, dim=1), whole, atol=1e-5, rtol=1e-5)


def test_the_model_stays_as_it_was() -> None:
    model = built("data=number_words")
    before = [(name, type(part)) for name, part in model.named_modules()]
    copied = ready(model, "float32")
    assert [(name, type(part)) for name, part in model.named_modules()] == before
    assert model.encoder.embedding.weight is copied.encoder.embedding.weight


@pytest.mark.parametrize(
    "kind", [["data=stdlib_docs"], ["data=stories", "model=prefix_lm", "tokenizer.joint=true"], []]
)
def test_a_model_in_training_is_searched_undisturbed(kind: list[str]) -> None:
    model, prompts = built(*kind, *AWD, "dropout.words=0.3"), [[5, 6, 7], [8, 9]]
    choice = settings("search=greedy", "search.max_length=6").search
    found = [
        search(choice, stepper_of(model.train(training)), prompts, torch.Generator()) for training in (True, False)
    ]
    assert found[0] == found[1]
    assert model.training is False


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_a_lower_precision_stays_near(precision: str, scale: float) -> None:
    x, matrix, bias = scale * torch.randn(7, 64), torch.randn(33, 64), torch.randn(33)
    exact = x @ matrix.T + bias
    found = product(matrix, bias, precision)(x)  # type: ignore[arg-type]
    assert (found - exact).norm() < 0.02 * exact.norm()


def test_auto_takes_the_quickest_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert chosen("auto", cpu) == ([*LOWER][-1:] or ["float32"])[0]
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert chosen("auto", cpu) != "int8"
    with pytest.raises(config.Mistake, match="precision=int8: allowed is auto or float32, as int8 needs a processor"):
        chosen("int8", cpu)
    assert chosen("float32", torch.device("mps")) == chosen("auto", torch.device("mps")) == "float32"


@pytest.mark.parametrize("precision", ["float32", *LOWER])
def test_rows_do_not_see_one_another(precision: str) -> None:
    x, multiplied = torch.randn(40, 64), product(torch.randn(33, 64), None, precision)  # type: ignore[arg-type]
    x[3] *= 1000
    torch.testing.assert_close(multiplied(x)[7:8], multiplied(x[7:8]), atol=1e-4, rtol=1e-3)
