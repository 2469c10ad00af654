"""All settings of `python train.py`, and which of them contradict each other."""

from dataclasses import dataclass
from typing import Literal

from throughtime.config.data import (
    Batch,
    Data,
    TakenTokenizer,
    Tokenizer,
    one_vocabulary,
    reads_text,
    refuse_contradictory_data,
)
from throughtime.config.measuring import Decoding, Evaluation, Metrics, StaticEvaluation
from throughtime.config.mistakes import Mistake, alternatives, nearest, wrong
from throughtime.config.model import (
    Awd,
    Cell,
    Context,
    Dropout,
    Encoder,
    EncoderDecoderShape,
    LanguageModelShape,
    MatrixCell,
    Model,
    MultiheadContext,
    RecurrentEncoder,
    SummaryContext,
    output_width,
    refuse_contradictory_cell,
    refuse_contradictory_dropout,
    refuse_other_engine,
    widths,
)
from throughtime.config.ranges import Count, Seed
from throughtime.config.search import Beam, Sample, Search, refuse_contradictory_search
from throughtime.config.training import (
    Adam,
    Averaging,
    FixedChunks,
    Flow,
    Forcing,
    FullBptt,
    Loss,
    Optim,
    Schedule,
    Tbptt,
    Teacher,
    Trainer,
)

LONGEST_NAME = 200  # bytes; file systems take 255


@dataclass(frozen=True)
class Run:
    """What a run is called on disk and on W&B; a sweep groups its jobs under its folder's name."""

    name: str
    group: str | None
    tags: list[str]


@dataclass(frozen=True)
class WandbTracking:
    """Weights & Biases; `auto` is online where a login exists, else offline."""

    name: Literal["wandb"]
    project: str
    mode: Literal["auto", "online", "offline"]


@dataclass(frozen=True)
class LocalTracking:
    """`metrics.csv` alone, with (`csv`) or without (`none`) the sample tables as CSV."""

    name: Literal["csv", "none"]


Tracking = WandbTracking | LocalTracking


@dataclass(frozen=True)
class TrainConfig:
    """All settings of `python train.py`."""

    data: Data
    tokenizer: Tokenizer
    batch: Batch
    model: Model
    cell: Cell
    engine: Literal["auto", "loop", "native", "fused", "scan"]
    encoder: Encoder
    context: Context
    dropout: Dropout
    tbptt: Tbptt
    teacher: Teacher
    loss: Loss
    optim: Optim
    schedule: Schedule
    averaging: Averaging
    trainer: Trainer
    search: Search
    sampling: Sample
    evaluation: Evaluation
    metrics: Metrics
    decoding: Decoding
    log_every: Count
    tracking: Tracking
    run: Run
    seed: Seed
    resume: str | None
    outputs: str
    start_from: str | None = None
    flow: Flow = Flow(rows=0, steps=1)  # noqa: RUF009 - it is immutable; for checkpoints older than the setting

    def __post_init__(self) -> None:
        _refuse_contradictions(self)


def encoder_cell(config: "TrainConfig") -> Cell:
    """The encoder's cell."""
    return config.encoder.cell or config.cell if isinstance(config.encoder, RecurrentEncoder) else config.cell


def encoder_widths(config: "TrainConfig") -> list[int]:
    """The hidden units of each layer of the encoder."""
    encoder, shape = config.encoder, config.model
    return [encoder.hidden or widths(shape)[-1]] * (encoder.depth or shape.depth)


def has_attention(config: "TrainConfig") -> bool:
    """Whether the model has attention."""
    return isinstance(config.model, EncoderDecoderShape) and not isinstance(config.context, SummaryContext)


def memory_width(config: "TrainConfig") -> int:
    """How wide the encoder's outputs are."""
    layers = encoder_widths(config)
    if isinstance(config.encoder, RecurrentEncoder):
        both = isinstance(config.model, EncoderDecoderShape) and config.model.bidirectional
        sides = 2 if both and config.model.merge == "concat" else 1  # type: ignore[union-attr]
        layers = [sides * output_width(encoder_cell(config), hidden) for hidden in layers]
    return sum(layers) if config.encoder.layers == "concat" else layers[-1]


def _refuse_contradictions(config: TrainConfig) -> None:
    refuse_contradictory_data(config.data)
    if isinstance(config.tokenizer, TakenTokenizer) and config.tokenizer.path is None:
        raise wrong("tokenizer.path", None, "the folder of the run whose vocabulary is taken")
    _refuse_data_of_others(config)
    if config.model.name != "language_model":
        _refuse_what_pairs_cannot(config)
    _refuse_contradictory_model(config)
    if isinstance(config.model, EncoderDecoderShape):
        _refuse_contradictory_encoder_decoder(config, config.model)
    _refuse_contradictory_course(config)
    _refuse_contradictory_searches(config)


def _refuse_data_of_others(config: TrainConfig) -> None:
    model, data = config.model, config.data
    if model.name == "language_model" and not reads_text(data):
        raise wrong("model", model.name, f"encoder_decoder or prefix_lm with data={data.name}, which is made of pairs")
    if model.name != "language_model" and reads_text(data):
        raise wrong("model", model.name, f"language_model with data={data.name}, which is running text")


def _refuse_contradictory_model(config: TrainConfig) -> None:
    model = config.model
    if isinstance(model, LanguageModelShape) and model.bidirectional:
        raise wrong("model.bidirectional", True, f"false with model={model.name}, which may not read the future")
    if isinstance(model.hidden, list) and len(model.hidden) != model.depth:
        raise wrong("model.hidden", model.hidden, f"one width, or one for each of model.depth={model.depth} layers")
    for hidden in widths(model):
        refuse_contradictory_cell(config.cell, hidden)
    refuse_other_engine(config.engine, config.cell, config.dropout, config.batch.documents)
    if model.learned_state:
        _refuse_unlearnable_state(config)
    refuse_contradictory_dropout(config.dropout, config.cell)
    width = output_width(config.cell, widths(model)[-1])
    if isinstance(model, LanguageModelShape) and model.tied and model.embedding != width:
        raise _untieable(model, width)


def _refuse_contradictory_course(config: TrainConfig) -> None:
    name, model = config.run.name, config.model
    if not name.strip(".") or {"/", "\\"} & set(name) or len(name.encode(errors="replace")) > LONGEST_NAME:
        raise wrong("run.name", name, f"the name of a folder, without / in it and of at most {LONGEST_NAME} bytes")
    if model.name == "language_model" and config.loss.label_smoothing:
        raise wrong("loss.label_smoothing", config.loss.label_smoothing, "0 with model=language_model")
    if isinstance(model, LanguageModelShape) and not isinstance(config.teacher, Forcing):
        raise wrong("teacher", config.teacher.name, f"forcing with model={model.name}")
    if config.trainer.clip.norm is not None and config.trainer.clip.value is not None:
        raise wrong("trainer.clip.value", config.trainer.clip.value, "null where trainer.clip.norm is set")
    if isinstance(config.optim, Adam) and (len(config.optim.betas) != 2 or max(config.optim.betas) >= 1):
        raise wrong("optim.betas", config.optim.betas, "two numbers of at least 0 and below 1")
    _refuse_unknown_monitor(config)


def _refuse_contradictory_searches(config: TrainConfig) -> None:
    refuse_contradictory_search("search", config.search)
    if isinstance(config.search, Beam) and config.search.coverage and not has_attention(config):
        raise wrong("search.coverage", config.search.coverage, "0 with a model without attention")
    refuse_contradictory_search("sampling", config.sampling)


def _refuse_unlearnable_state(config: "TrainConfig") -> None:
    """The initial state is learned where a text is read: in a language model, or in the encoder."""
    translates = isinstance(config.model, EncoderDecoderShape)
    if translates and not isinstance(config.encoder, RecurrentEncoder):
        raise wrong("model.learned_state", True, f"false with encoder={config.encoder.name}, which has no state")
    if isinstance(encoder_cell(config) if translates else config.cell, MatrixCell):
        raise wrong("model.learned_state", True, "false where a cell=mlstm reads, whose memory begins empty")


def _untieable(model: Model, width: int) -> Mistake:
    return wrong(
        "model.tied", True, f"only with model.embedding={model.embedding} equal to the last layer's output, {width}"
    )


def _refuse_what_pairs_cannot(config: "TrainConfig") -> None:
    name = config.model.name
    if not isinstance(config.tbptt, FullBptt | FixedChunks):
        raise wrong("tbptt", config.tbptt.name, f"off or fixed with model={name}, whose sentences are short")
    if not isinstance(config.evaluation, StaticEvaluation):
        raise wrong("evaluation", config.evaluation.name, f"static with model={name}")
    if isinstance(config.dropout, Awd) and (config.dropout.activation or config.dropout.temporal):
        setting = "activation" if config.dropout.activation else "temporal"
        value = getattr(config.dropout, setting)
        raise wrong(f"dropout.{setting}", value, f"0 with model={name}, as that penalty is a language model's")
    if config.batch.documents == "reset":
        raise wrong("batch.documents", "reset", f"carry with model={name}, whose pairs begin afresh anyway")
    if name == "prefix_lm" and not one_vocabulary(config.tokenizer):
        raise wrong("tokenizer.joint", False, "true with model=prefix_lm, which has one vocabulary for both sides")


def _refuse_contradictory_encoder_decoder(config: "TrainConfig", model: EncoderDecoderShape) -> None:
    width, context = output_width(config.cell, model.hidden), config.context
    group = "cell" if encoder_cell(config) is config.cell else "encoder.cell"
    for hidden in encoder_widths(config):
        refuse_contradictory_cell(
            encoder_cell(config), hidden, group, f"{'encoder' if config.encoder.hidden else 'model'}.hidden"
        )
    refuse_other_engine(config.engine, encoder_cell(config), config.dropout, config.batch.documents)
    refuse_contradictory_dropout(config.dropout, encoder_cell(config))
    bare = model.readout == "plain" and context.name in ("initial_state", "every_step")
    if model.tied and bare and model.embedding != width:
        raise _untieable(model, width)
    if model.shared_embedding and not one_vocabulary(config.tokenizer):
        raise wrong("model.shared_embedding", True, "only with tokenizer.joint=true, one vocabulary for both sides")
    if isinstance(config.cell, MatrixCell) and context.name == "initial_state":
        raise wrong(
            "context", "initial_state", "another context with cell=mlstm, whose memory a decoder cannot take over"
        )
    if context.name == "dot" and memory_width(config) != width:
        raise wrong(
            "context", "dot", f"general, or an encoder as wide as the decoder ({memory_width(config)} and {width}), "
            "by encoder.hidden or model.merge=sum",
        )  # fmt: skip
    if isinstance(context, MultiheadContext) and width % context.heads:
        raise wrong("context.heads", context.heads, f"a divisor of the decoder's width, {width}")
    if model.bridge == "zero" and context.name == "initial_state":
        raise wrong("model.bridge", "zero", "linear or copy with context=initial_state, or the decoder sees no source")


def _refuse_unknown_monitor(config: TrainConfig) -> None:
    monitor = config.trainer.early_stopping.monitor
    of_text = {"loss", "perplexity", "bits_per_character"}
    of_pairs = {"loss", "perplexity", *config.metrics.scores}
    known = sorted(of_text if reads_text(config.data) else of_pairs)
    if monitor is not None and monitor not in known:
        where = f"model={config.model.name}" if reads_text(config.data) else "these metrics.scores"
        raise wrong(
            "trainer.early_stopping.monitor", monitor, f"{alternatives(known)} with {where}{nearest(monitor, known)}"
        )
