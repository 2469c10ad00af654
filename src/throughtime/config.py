"""The schema: every setting, its type and its range, and one clear sentence per mistake.

The YAML files under `conf/` give the values, these dataclasses say what is allowed. Nothing heavy is imported here, so
that a mistake is told at once.
"""

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints


class Mistake(Exception):
    """Something that a user can put right; its text is the one sentence shown."""


def wrong(setting: str, value: object, allowed: str) -> Mistake:
    """The sentence for a setting whose value is not allowed."""
    return Mistake(f"{setting}={_shown(value)}: allowed is {allowed}" + "." * (not allowed.endswith("?")))


def sentence(error: BaseException) -> str:
    """What went wrong, in one sentence: what the operating system refused, else the error's own words."""
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'} can't be used: {error.strerror or error}."
    return str(error) or type(error).__name__


def _shown(value: object) -> str:
    """A value as the user wrote it."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def nearest(word: str, known: list[str]) -> str:
    """A hint at the known word that is most like `word`, or nothing."""
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


@dataclass(frozen=True)
class Range:
    """Bounds of a number; `above` excludes its bound, the other two include it."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None

    def holds(self, value: float) -> bool:
        """Whether `value` lies inside; a NaN never does."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and value == value
        )

    def __str__(self) -> str:
        words = {"of at least": self.at_least, "above": self.above, "at most": self.at_most}
        return " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)


Count = Annotated[int, Range(at_least=1)]
Natural = Annotated[int, Range(at_least=0)]
Positive = Annotated[float, Range(above=0)]
Seed = Annotated[int, Range(at_least=0, at_most=2**32 - 1)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Rate = Annotated[float, Range(at_least=0, at_most=0.95)]
Mass = Annotated[float, Range(above=0, at_most=1)]
Temperature = Annotated[float, Range(above=0, at_most=100)]
Score = Literal[
    "exact_match", "bleu", "bleu_lowercase", "chrf", "token_error_rate", "rouge1", "rouge2", "rougeL", "parses",
    "token_bleu",
]  # fmt: skip


# data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NumberWords:
    """Numbers in words, from one language of num2words to another."""

    name: Literal["number_words"]
    source_language: str
    target_language: str
    smallest: Natural
    largest: Count
    train: Count
    validation: Count
    test: Count


@dataclass(frozen=True)
class Stories:
    """Generated stories of at most so many sentences, each with its question before or behind it; the kinds come in turn."""

    name: Literal["stories"]
    kinds: list[Literal["one_fact", "two_facts", "who_has", "yes_no", "counting", "listing", "negation"]]
    sentences: Count
    question: Literal["first", "last"]
    train: Count
    validation: Count
    test: Count


@dataclass(frozen=True)
class StdlibPairs:
    """Pairs out of this Python's standard library, neither side of more than `longest` characters: what follows a
    docstring's first paragraph and that paragraph, that paragraph and the function, or a name and that paragraph."""

    name: Literal["stdlib_summaries", "stdlib_functions", "stdlib_topics"]
    longest: Count
    validation_share: Share
    test_share: Share


@dataclass(frozen=True)
class StdlibDocs:
    """The docstrings of this Python's standard library."""

    name: Literal["stdlib_docs"]
    validation_share: Share
    test_share: Share


@dataclass(frozen=True)
class TextFiles:
    """Text files of the user."""

    name: Literal["text"]
    path: str | None
    validation_path: str | None
    test_path: str | None
    validation_share: Share
    test_share: Share


@dataclass(frozen=True)
class PairFiles:
    """Source and target lines of the user: one table, or two aligned text files, per split."""

    name: Literal["pairs"]
    path: str | None
    validation_path: str | None
    test_path: str | None
    source_path: str | None
    target_path: str | None
    validation_source_path: str | None
    validation_target_path: str | None
    test_source_path: str | None
    test_target_path: str | None
    source_field: str | int
    target_field: str | int
    unique: bool
    validation_share: Share
    test_share: Share


@dataclass(frozen=True)
class HubDataset:
    """A Hugging Face dataset by name, or one saved on disk."""

    name: Literal["hf"]
    path: str | None
    subset: str | None
    text_field: str | None
    source_field: str | None
    target_field: str | None
    train_split: str
    validation_split: str | None
    test_split: str | None
    validation_share: Share
    test_share: Share
    streaming: bool


Data = NumberWords | Stories | StdlibPairs | StdlibDocs | TextFiles | PairFiles | HubDataset


@dataclass(frozen=True)
class PlainTokenizer:
    """Bytes or characters; `joint`: of both sides of the pairs together."""

    name: Literal["byte", "char"]
    lowercase: bool
    joint: bool


@dataclass(frozen=True)
class LearnedTokenizer:
    """Words or byte-level BPE, the vocabulary learned from the training split; `joint`: of both sides of the pairs
    together."""

    name: Literal["word", "bpe"]
    vocabulary: Annotated[int, Range(at_least=5, at_most=1_000_000)]
    lowercase: bool
    joint: bool


Tokenizer = PlainTokenizer | LearnedTokenizer


@dataclass(frozen=True)
class Batch:
    """Columns of a text stream, where they begin, whether the state goes on from document to document, and the share of
    columns that begins anew at a chunk of training, so that the model stays at home with a fresh state; or tokens (padding
    included) of a bucket of pairs."""

    columns: Count
    offset: bool
    documents: Literal["carry", "reset"]
    restarts: Share
    tokens: Count
    longest: Count


# model -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LanguageModelShape:
    """Embedding -> stack -> output; `prefix_lm` goes on with a target where the source ends."""

    name: Literal["language_model", "prefix_lm"]
    embedding: Count
    hidden: Count | list[Count]
    depth: Count
    bidirectional: bool
    residual: bool
    learned_state: bool
    tied: bool


@dataclass(frozen=True)
class EncoderDecoderShape:
    """Encoder -> bridge -> decoder stack -> readout -> output; `hidden` and `depth` are the decoder's, and the encoder's
    unless it has its own."""

    name: Literal["encoder_decoder"]
    embedding: Count
    hidden: Count
    depth: Count
    bidirectional: bool
    merge: Literal["concat", "sum"]
    residual: bool
    learned_state: bool
    bridge: Literal["linear", "copy", "zero"]
    readout: Literal["plain", "deep", "maxout"]
    tied: bool
    shared_embedding: bool


Model = LanguageModelShape | EncoderDecoderShape


Recurrent = Literal["orthogonal", "uniform", "identity"]
Bias = Annotated[float, Range(at_least=-100, at_most=100)]
TimeScale = Annotated[float, Range(above=2, at_most=1e9)]


@dataclass(frozen=True)
class VanillaCell:
    """The vanilla recurrence and its nonlinearity."""

    name: Literal["rnn"]
    nonlinearity: Literal["tanh", "relu"]
    recurrent: Recurrent


@dataclass(frozen=True)
class Gates:
    """How the recurrent weights start, and the bias of the gate that keeps the state: the same for all units, or by
    `chrono` for each unit a time scale of up to this many steps."""

    recurrent: Recurrent
    forget_bias: Bias
    chrono: TimeScale | None


@dataclass(frozen=True)
class GatedCell(Gates):
    """A cell with nothing else to set."""

    name: Literal[
        "lstm", "peephole_lstm", "coupled_lstm", "layer_norm_lstm", "multiplicative_lstm",
        "gru", "cho_gru", "layer_norm_gru", "minimal_gru",
    ]  # fmt: skip


@dataclass(frozen=True)
class ProjectedCell(Gates):
    """An output `projection` wide; null is half of the hidden units."""

    name: Literal["projected_lstm"]
    projection: Count | None


@dataclass(frozen=True)
class HighwayCell(Gates):
    """`recurrence_depth` layers a step."""

    name: Literal["highway"]
    recurrence_depth: Count


@dataclass(frozen=True)
class HeadedCell(Gates):
    """Units that see each other's state within `heads` groups."""

    name: Literal["slstm"]
    heads: Count


@dataclass(frozen=True)
class SlowCell:
    """Fast units beside `slow` ones that keep the share `alpha` of their state at each step."""

    name: Literal["scrn"]
    slow: Count
    alpha: Share
    recurrent: Recurrent


@dataclass(frozen=True)
class IndependentCell:
    """Units that see no other's state: nothing to set."""

    name: Literal["indrnn"]


@dataclass(frozen=True)
class OwnCell:
    """A user's class: `my_cells.py:Minimal`, or `my_package.cells:Minimal`."""

    name: Literal["own"]
    path: str | None

    def __post_init__(self) -> None:
        place, _, name = (self.path or "").rpartition(":")
        if not place or not name.isidentifier():
            raise wrong("cell.path", self.path, "a file or module and the class in it, as in my_cells.py:Minimal")


@dataclass(frozen=True)
class LinearCell:
    """A linear recurrence with nothing to set."""

    name: Literal["mingru", "minlstm", "sru", "rg_lru"]


@dataclass(frozen=True)
class QrnnCell:
    """Gates by a convolution over the last `window` inputs, pooled by a forget gate, with an output gate (fo) and an input
    gate (ifo)."""

    name: Literal["qrnn"]
    pooling: Literal["f", "fo", "ifo"]
    window: Annotated[int, Range(at_least=2)]


@dataclass(frozen=True)
class MatrixCell:
    """Matrix memories, one for each head."""

    name: Literal["mlstm"]
    heads: Count


CatalogueCell = (
    VanillaCell
    | GatedCell
    | ProjectedCell
    | HighwayCell
    | HeadedCell
    | SlowCell
    | IndependentCell
    | LinearCell
    | QrnnCell
    | MatrixCell
)
Cell = CatalogueCell | OwnCell


Layers = Literal["last", "sum", "concat"]


@dataclass(frozen=True)
class RecurrentEncoder:
    """A stack; null is what the decoder has. A user's own cell serves both or neither."""

    name: Literal["recurrent"]
    cell: CatalogueCell | None
    hidden: Count | None
    depth: Count | None
    layers: Layers
    reverse_source: bool


@dataclass(frozen=True)
class ConvolutionalEncoder:
    """Gated convolutions over `window` steps (Gehring et al. 2017)."""

    name: Literal["convolutional"]
    hidden: Count | None
    depth: Count
    window: Annotated[int, Range(at_least=2)]
    layers: Layers
    reverse_source: bool


Encoder = RecurrentEncoder | ConvolutionalEncoder


@dataclass(frozen=True)
class SummaryContext:
    """The source summed up in one vector: in the decoder's first state alone, in the stack's input at every step too, and
    in the readout too."""

    name: Literal["initial_state", "every_step", "every_step_output"]


@dataclass(frozen=True)
class Attentive:
    """Attention by the state `after` a step (Luong et al. 2015) or `before` it (Bahdanau et al. 2015)."""

    query: Literal["after", "before"]
    input_feeding: bool


@dataclass(frozen=True)
class AttentionContext(Attentive):
    """Scores with nothing else to set."""

    name: Literal["dot", "general", "additive"]


@dataclass(frozen=True)
class LocationContext(Attentive):
    """Additive attention that sees where it has looked, by `channels` filters over `window` source steps."""

    name: Literal["location"]
    channels: Count
    window: Count


@dataclass(frozen=True)
class MultiheadContext(Attentive):
    """Scaled dot products in `heads` parts."""

    name: Literal["multihead"]
    heads: Count


Context = SummaryContext | AttentionContext | LocationContext | MultiheadContext


@dataclass(frozen=True)
class NoDropout:
    """Every unit stays."""

    name: Literal["none"]


@dataclass(frozen=True)
class Zaremba:
    """Dropout on the non-recurrent connections only (Zaremba et al. 2014)."""

    name: Literal["zaremba"]
    rate: Rate


@dataclass(frozen=True)
class Awd:
    """The regularisation of AWD-LSTM (Merity et al. 2017): one mask for all steps, dropped recurrent weights and words,
    and penalties on large (`activation`) and on quickly changing (`temporal`) outputs."""

    name: Literal["awd"]
    words: Rate
    inputs: Rate
    between: Rate
    outputs: Rate
    weights: Rate
    activation: Annotated[float, Range(at_least=0)]
    temporal: Annotated[float, Range(at_least=0)]


@dataclass(frozen=True)
class Variational:
    """One mask for all steps (Gal and Ghahramani 2016): of whole `words`, of what a layer and the output layer read
    (`rate`), and of the recurrent `state`."""

    name: Literal["variational"]
    words: Rate
    rate: Rate
    state: Rate


@dataclass(frozen=True)
class Zoneout:
    """Units keep their state at random (Krueger et al. 2017), `output` and `memory` (c of an LSTM) at rates of their own;
    `rate` as in Zaremba."""

    name: Literal["zoneout"]
    rate: Rate
    output: Rate
    memory: Rate


@dataclass(frozen=True)
class RecurrentDropout:
    """Dropout of the candidate alone (Semeniuta et al. 2016); `rate` as in Zaremba."""

    name: Literal["recurrent"]
    rate: Rate
    candidate: Rate


Dropout = NoDropout | Zaremba | Awd | Variational | Zoneout | RecurrentDropout


# training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FullBptt:
    """Gradients through the whole sequence."""

    name: Literal["off"]


@dataclass(frozen=True)
class FixedChunks:
    """The gradient is cut every `chunk` steps, the state goes on."""

    name: Literal["fixed"]
    chunk: Count


@dataclass(frozen=True)
class JitteredChunks:
    """Chunks of random length around `chunk`, the learning rate in proportion (Merity et al. 2017, section 5)."""

    name: Literal["jittered"]
    chunk: Annotated[int, Range(at_least=5)]


@dataclass(frozen=True)
class Windows:
    """Every `stride` steps the loss of these, its gradient through `window` steps (Williams and Peng 1990)."""

    name: Literal["windows"]
    stride: Count
    window: Count

    def __post_init__(self) -> None:
        if self.window < self.stride:
            raise wrong("tbptt.window", self.window, f"a number of at least tbptt.stride={self.stride}")


@dataclass(frozen=True)
class CheckpointedBptt:
    """Gradients through the whole sequence, of which only the states every `chunk` steps are kept and the rest is computed
    once more; null is the square root of the length (Chen et al. 2016)."""

    name: Literal["checkpointed"]
    chunk: Count | None


Tbptt = FullBptt | FixedChunks | JitteredChunks | Windows | CheckpointedBptt


@dataclass(frozen=True)
class Forcing:
    """The decoder is fed the target's words, unknown at the rate `word_dropout`."""

    name: Literal["forcing"]
    word_dropout: Rate


@dataclass(frozen=True)
class ConstantTeacher:
    """Scheduled sampling (Bengio et al. 2015): a `share` of the words fed are the model's own."""

    name: Literal["constant"]
    word_dropout: Rate
    share: Share


@dataclass(frozen=True)
class LinearTeacher:
    """The share grows evenly over so many steps."""

    name: Literal["linear"]
    word_dropout: Rate
    share: Share
    steps: Count


@dataclass(frozen=True)
class InverseSigmoidTeacher:
    """The share 1 - k / (k + exp(step / k)), k = `steps`."""

    name: Literal["inverse_sigmoid"]
    word_dropout: Rate
    steps: Count


Teacher = Forcing | ConstantTeacher | LinearTeacher | InverseSigmoidTeacher


@dataclass(frozen=True)
class Loss:
    """What is minimised: `label_smoothing` of the target's probability is asked for all tokens alike. Reported losses and
    perplexities are without it."""

    label_smoothing: Annotated[float, Range(at_least=0, at_most=0.9)]


@dataclass(frozen=True)
class Adam:
    """Adam, and AdamW with its decoupled weight decay."""

    name: Literal["adam", "adamw"]
    lr: Positive
    betas: list[Share]
    weight_decay: Annotated[float, Range(at_least=0)]


@dataclass(frozen=True)
class Sgd:
    """Gradient descent with momentum."""

    name: Literal["sgd"]
    lr: Positive
    momentum: Share
    weight_decay: Annotated[float, Range(at_least=0)]


Optim = Adam | Sgd


@dataclass(frozen=True)
class Constant:
    """The learning rate stays."""

    name: Literal["constant"]


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up over `warmup` steps, then a half cosine over the rest of the run down to `floor` x lr."""

    name: Literal["cosine"]
    warmup: Natural
    floor: Share


@dataclass(frozen=True)
class Plateau:
    """The rate is multiplied by `factor` after `patience` validations without a better loss."""

    name: Literal["plateau"]
    factor: Annotated[float, Range(above=0, at_most=0.999)]
    patience: Natural


@dataclass(frozen=True)
class Decay:
    """The rate stays for `hold` epochs, then is multiplied by `factor` at each (Zaremba et al. 2014)."""

    name: Literal["decay"]
    hold: Count
    factor: Annotated[float, Range(above=0, at_most=0.999)]


Schedule = Constant | Cosine | Plateau | Decay


@dataclass(frozen=True)
class NoAveraging:
    """The weights as the optimiser leaves them."""

    name: Literal["none"]


@dataclass(frozen=True)
class NonmonotoneAveraging:
    """The mean of the weights from the first validation loss that is no better than the best before `patience` others."""

    name: Literal["nonmonotone"]
    patience: Count


@dataclass(frozen=True)
class ExponentialAveraging:
    """The exponential moving average of the weights."""

    name: Literal["ema"]
    decay: Annotated[float, Range(at_least=0, at_most=0.999999)]


Averaging = NoAveraging | NonmonotoneAveraging | ExponentialAveraging


@dataclass(frozen=True)
class Clip:
    """Gradient clipping by total norm or by value; null turns it off."""

    norm: Positive | None
    value: Positive | None


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after `patience` validations without a better `monitor`; null never stops early."""

    monitor: Literal["loss", "perplexity", "bits_per_character", Score] | None
    patience: Count | None


@dataclass(frozen=True)
class Keep:
    """So many of the best and of the last checkpoints stay; of several each has a file of its own."""

    best: Count
    last: Count


@dataclass(frozen=True)
class Trainer:
    """How long, on what, how often."""

    epochs: Count
    steps: Count | None
    minutes: Positive | None
    validate_every: Count | None
    accumulate: Count
    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Count
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
    clip: Clip
    early_stopping: EarlyStopping
    keep: Keep


# search ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """What every search keeps to: tokens of a hypothesis, eos included; `repetition`, which the log-probability of a token
    that has come already is multiplied by; `block_ngrams`, so many tokens in a row never come twice; `banned`, texts that
    never come."""

    max_length: Count
    min_length: Natural
    repetition: Annotated[float, Range(at_least=1, at_most=100)]
    block_ngrams: Count | None
    banned: list[str]


@dataclass(frozen=True)
class Greedy(Limits):
    """The most probable token at each step."""

    name: Literal["greedy"]


@dataclass(frozen=True)
class Sample(Limits):
    """Ancestral sampling, the distribution sharpened or cut first."""

    name: Literal["sample"]
    samples: Count
    temperature: Temperature
    top_k: Count | None
    top_p: Mass | None
    min_p: Share | None
    typical: Mass | None


@dataclass(frozen=True)
class Beam(Limits):
    """Beam search; a hypothesis scores log-probability / normaliser of its length + reward x length + coverage."""

    name: Literal["beam"]
    size: Count
    normalisation: Literal["none", "length", "gnmt"]
    alpha: Annotated[float, Range(at_least=0, at_most=10)]
    reward: Annotated[float, Range(at_least=-100, at_most=100)]
    coverage: Annotated[float, Range(at_least=0, at_most=100)]
    stop: Literal["finished", "proven", "cutoff"]
    finished: Count | None
    n_best: Count
    groups: Count
    diversity: Annotated[float, Range(at_least=0, at_most=100)]
    contains: list[str]


@dataclass(frozen=True)
class StochasticBeam(Limits):
    """`size` hypotheses drawn without replacement (Kool et al. 2019)."""

    name: Literal["stochastic_beam"]
    size: Count


@dataclass(frozen=True)
class MinimumBayesRisk(Sample):
    """Of `samples`, those that are on average most like the others (minimum Bayes risk), by chrF or BLEU."""

    name: Literal["minimum_bayes_risk"]  # type: ignore[assignment]
    utility: Literal["chrf", "bleu"]
    n_best: Count


Search = Greedy | Sample | Beam | StochasticBeam | MinimumBayesRisk


@dataclass(frozen=True)
class StaticEvaluation:
    """The test text is read with the weights as they are."""

    name: Literal["static"]


@dataclass(frozen=True)
class CacheEvaluation:
    """The continuous cache of Grave et al. 2017."""

    name: Literal["cache"]
    size: Count
    theta: Annotated[float, Range(at_least=0)]
    share: Rate


@dataclass(frozen=True)
class DynamicEvaluation:
    """The weights adapt to the test text as it is read (Krause et al. 2018)."""

    name: Literal["dynamic"]
    lr: Positive
    decay: Share


Evaluation = StaticEvaluation | CacheEvaluation | DynamicEvaluation


@dataclass(frozen=True)
class Metrics:
    """What decoded texts are measured by against their references (`train/quality.py`)."""

    scores: list[Score]


@dataclass(frozen=True)
class Decoding:
    """What the decoding callback shows at each validation."""

    examples: Natural
    sentences: Count | None
    prompts: list[str] | None
    prompt_length: Count


# the two programs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """How a run is called on disk and on W&B; a sweep groups its jobs under its folder's name."""

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
    """All of `python train.py`."""

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

    def __post_init__(self) -> None:
        _refuse_contradictions(self)


@dataclass(frozen=True)
class Shortlist:
    """The `best` translations of each source word of a batch, learned from the lines of `source` and `target` (Jean et al.
    2015), and words that are `frequent`; without files, all words."""

    source: str | None
    target: str | None
    best: Count
    frequent: Natural


@dataclass(frozen=True)
class DecodeConfig:
    """All of `python decode.py`."""

    mode: Literal["search", "score"]
    checkpoint: str | list[str] | None
    combine: Literal["average", "ensemble", "loglinear"] | None
    language_model: str | None
    language_model_weight: Annotated[float, Range(at_least=0, at_most=10)]
    input: str | list[str]
    targets: str | None
    output: str
    format: Literal["auto", "text", "jsonl"]
    attention: Literal["none", "text", "image"]
    resume: bool
    references: str | list[str] | None
    baseline: str | None
    bootstrap: Natural
    allow_code: str | None
    search: Search
    shortlist: Shortlist
    batch: Count
    read_ahead: Count
    longest: Count
    precision: Literal["auto", "float32", "bf16", "int8"]
    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Count
    seed: Seed
    outputs: str

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise wrong("checkpoint", self.checkpoint, "a checkpoint file, a run folder, or last")
        _refuse_contradictory_decoding(self)
        _refuse_contradictory_search("search", self.search)


def _refuse_contradictory_decoding(config: DecodeConfig) -> None:
    if not config.input or (isinstance(config.input, list) and len(config.input) > 1 and "-" in config.input):
        raise wrong("input", config.input, "a file, a folder, a list of them, or - alone for standard input")
    if config.resume and config.output == "-":
        raise wrong("resume", True, "false with output=-, where nothing can be taken up again")
    if config.targets is not None and config.mode != "score":
        raise wrong("targets", config.targets, "null without mode=score")
    if config.mode == "score":
        _refuse_with_scores(config)
    if (config.shortlist.source is None) != (config.shortlist.target is None):
        raise wrong("shortlist.target", config.shortlist.target, "a text where shortlist.source is one, else null")
    if config.baseline is not None and config.references is None:
        raise wrong("baseline", config.baseline, "null without references=")
    if config.baseline is not None and config.bootstrap < 2:
        raise wrong("bootstrap", config.bootstrap, "at least 2 with baseline=")


def _refuse_with_scores(config: DecodeConfig) -> None:
    if config.references is not None:
        raise wrong("references", config.references, "null with mode=score, which decodes nothing")
    if config.attention != "none":
        raise wrong("attention", config.attention, "none with mode=score")
    if config.shortlist.source is not None:
        raise wrong("shortlist.source", config.shortlist.source, "null with mode=score, which searches nothing")


def widths(model: Model) -> list[int]:
    """The hidden units of each layer."""
    return model.hidden if isinstance(model.hidden, list) else [model.hidden] * model.depth


def reading_cell(config: "TrainConfig") -> Cell:
    """The encoder's cell."""
    return config.encoder.cell or config.cell if isinstance(config.encoder, RecurrentEncoder) else config.cell


def reading_widths(config: "TrainConfig") -> list[int]:
    """The hidden units of each layer of the encoder."""
    encoder, shape = config.encoder, config.model
    return [encoder.hidden or widths(shape)[-1]] * (encoder.depth or shape.depth)


def memory_width(config: "TrainConfig") -> int:
    """How wide the encoder's outputs are."""
    layers = reading_widths(config)
    if isinstance(config.encoder, RecurrentEncoder):
        both = isinstance(config.model, EncoderDecoderShape) and config.model.bidirectional
        sides = 2 if both and config.model.merge == "concat" else 1  # type: ignore[union-attr]
        layers = [sides * output_width(reading_cell(config), hidden) for hidden in layers]
    return sum(layers) if config.encoder.layers == "concat" else layers[-1]


def reads_text(data: Data) -> bool:
    """Whether the corpus is running text (for a language model) rather than pairs."""
    return isinstance(data, StdlibDocs | TextFiles) or (isinstance(data, HubDataset) and data.text_field is not None)


def _refuse_contradictions(config: TrainConfig) -> None:
    _refuse_contradictory_data(config.data)
    if not config.run.name.strip(".") or {"/", "\\"} & set(config.run.name):
        raise wrong("run.name", config.run.name, "the name of a folder, without / in it")
    model, data = config.model, config.data
    if model.name == "language_model" and not reads_text(data):
        raise wrong("model", model.name, f"encoder_decoder or prefix_lm with data={data.name}, which is made of pairs")
    if model.name != "language_model" and reads_text(data):
        raise wrong("model", model.name, f"language_model with data={data.name}, which is running text")
    if isinstance(model, LanguageModelShape) and model.bidirectional:
        raise wrong("model.bidirectional", True, f"false with model={model.name}, which may not read the future")
    if model.name == "language_model" and config.loss.label_smoothing:
        raise wrong("loss.label_smoothing", config.loss.label_smoothing, "0 with model=language_model")
    if isinstance(model.hidden, list) and len(model.hidden) != model.depth:
        raise wrong("model.hidden", model.hidden, f"one width, or one for each of model.depth={model.depth} layers")
    for hidden in widths(model):
        _refuse_contradictory_cell(config.cell, hidden)
    _refuse_unusable_stack(model, config.cell)
    _refuse_contradictory_dropout(config.dropout, config.cell)
    if not isinstance(model, EncoderDecoderShape) and not isinstance(config.teacher, Forcing):
        raise wrong("teacher", config.teacher.name, f"forcing with model={model.name}")
    if isinstance(model, EncoderDecoderShape):
        _refuse_contradictory_translation(config, model)
    elif model.tied and model.embedding != (width := output_width(config.cell, widths(model)[-1])):
        raise _untieable(model, width)
    if model.name != "language_model":
        _refuse_what_pairs_cannot(config)
    if config.trainer.clip.norm is not None and config.trainer.clip.value is not None:
        raise wrong("trainer.clip.value", config.trainer.clip.value, "null where trainer.clip.norm is set")
    if config.trainer.precision == "16-mixed" and config.trainer.accelerator == "cpu":
        raise wrong("trainer.precision", "16-mixed", "32-true, 64-true or bf16-mixed with trainer.accelerator=cpu")
    if isinstance(config.optim, Adam) and (len(config.optim.betas) != 2 or max(config.optim.betas) >= 1):
        raise wrong("optim.betas", config.optim.betas, "two numbers of at least 0 and below 1")
    _refuse_unknown_monitor(config)
    _refuse_contradictory_search("search", config.search)
    _refuse_contradictory_search("sampling", config.sampling)


def output_width(cell: Cell, hidden: int) -> int:
    """How wide the output of a layer of `hidden` units is, in one direction; an own cell's is taken to be `hidden`."""
    if isinstance(cell, ProjectedCell):
        return cell.projection or hidden // 2
    return hidden + cell.slow if isinstance(cell, SlowCell) else hidden


def _refuse_contradictory_cell(cell: Cell, hidden: int) -> None:
    if isinstance(cell, ProjectedCell) and not 0 < output_width(cell, hidden) < hidden:
        raise wrong("cell.projection", cell.projection, f"a number of at least 1 and below model.hidden={hidden}")
    if isinstance(cell, HeadedCell | MatrixCell) and hidden % cell.heads:
        raise wrong("cell.heads", cell.heads, f"a divisor of model.hidden={hidden}")


def _refuse_unusable_stack(model: Model, cell: Cell) -> None:
    written = [output_width(cell, hidden) for hidden in widths(model)]
    read = [model.embedding, *written[:-1]]
    if model.residual and all(before != after for before, after in zip(read, written, strict=True)):
        raise wrong(
            "model.residual", True, "false where no layer is as wide as what it reads (the first: the embedding)"
        )
    if model.learned_state and isinstance(cell, MatrixCell):
        raise wrong("model.learned_state", True, "false with cell=mlstm, whose memory begins empty")


def _refuse_contradictory_dropout(dropout: Dropout, cell: Cell) -> None:
    if isinstance(dropout, RecurrentDropout) and cell.name not in ("lstm", "gru"):
        raise wrong("dropout", "recurrent", f"another one with cell={cell.name}; recurrent is for lstm and gru")
    if isinstance(dropout, Zoneout) and isinstance(cell, MatrixCell):
        raise wrong("dropout", "zoneout", "another one with cell=mlstm, which reads no state of the step before")


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
    if name == "prefix_lm" and not _one_vocabulary(config.tokenizer):
        raise wrong("tokenizer.joint", False, "true with model=prefix_lm, which has one vocabulary for both sides")


def _one_vocabulary(tokenizer: Tokenizer) -> bool:
    return tokenizer.joint or tokenizer.name == "byte"


def _refuse_contradictory_translation(config: "TrainConfig", model: EncoderDecoderShape) -> None:
    width, context = output_width(config.cell, model.hidden), config.context
    for hidden in reading_widths(config):
        _refuse_contradictory_cell(reading_cell(config), hidden)
    _refuse_contradictory_dropout(config.dropout, reading_cell(config))
    bare = model.readout == "plain" and context.name in ("initial_state", "every_step")
    if model.tied and bare and model.embedding != width:
        raise _untieable(model, width)
    if model.shared_embedding and not _one_vocabulary(config.tokenizer):
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
    if model.bridge == "copy":
        _refuse_uncopied_state(config, model)


def _refuse_uncopied_state(config: "TrainConfig", model: EncoderDecoderShape) -> None:
    if isinstance(config.encoder, ConvolutionalEncoder):
        read = memory_width(config)
    else:
        read = reading_widths(config)[-1] * (2 if model.bidirectional else 1)
    if read != model.hidden:
        raise wrong(
            "model.bridge", "copy", f"linear, or a decoder as wide as the encoder's directions together ({model.hidden} "
            f"and {read}), by encoder.hidden",
        )  # fmt: skip


def _refuse_unknown_monitor(config: TrainConfig) -> None:
    monitor = config.trainer.early_stopping.monitor
    of_text = {"loss", "perplexity", "bits_per_character"}
    of_pairs = {"loss", "perplexity", *config.metrics.scores}
    known = sorted(of_text if reads_text(config.data) else of_pairs)
    if monitor is not None and monitor not in known:
        where = f"model={config.model.name}" if reads_text(config.data) else "these metrics.scores"
        raise wrong("trainer.early_stopping.monitor", monitor, f"with {where} {_or(known)}{nearest(monitor, known)}")


def _refuse_contradictory_search(setting: str, search: Search) -> None:
    if search.min_length > search.max_length:
        raise wrong(f"{setting}.min_length", search.min_length, f"at most {setting}.max_length={search.max_length}")
    if isinstance(search, Beam) and search.n_best > search.size:
        raise wrong(f"{setting}.n_best", search.n_best, f"at most {setting}.size={search.size}")
    if isinstance(search, MinimumBayesRisk) and search.n_best > search.samples:
        raise wrong(f"{setting}.n_best", search.n_best, f"at most {setting}.samples={search.samples}")
    if isinstance(search, Beam) and search.size % search.groups:
        raise wrong(f"{setting}.groups", search.groups, f"a divisor of {setting}.size={search.size}")
    if isinstance(search, Beam) and search.groups > 1 and search.contains:
        raise wrong(f"{setting}.groups", search.groups, f"1 where {setting}.contains lists texts")
    if isinstance(search, Beam) and search.finished is not None and search.finished < search.n_best:
        raise wrong(f"{setting}.finished", search.finished, f"at least {setting}.n_best={search.n_best}")


def _refuse_contradictory_data(data: Data) -> None:
    if isinstance(data, NumberWords):
        there, asked = data.largest - data.smallest + 1, data.train + data.validation + data.test
        if asked > there:
            raise wrong("data.largest", data.largest, f"large enough for {asked} numbers from {data.smallest} up")
        if data.source_language == data.target_language:
            raise wrong("data.target_language", data.target_language, "a language other than data.source_language")
        return
    if isinstance(data, Stories):
        if not data.kinds:
            raise wrong("data.kinds", data.kinds, "a list of at least one kind")
        return
    if data.validation_share + data.test_share >= 1:
        raise wrong(
            "data.validation_share",
            data.validation_share,
            "a share that leaves some of the data for training",
        )
    if isinstance(data, TextFiles | HubDataset) and data.path is None:
        raise wrong("data.path", None, "a file or a glob" if data.name == "text" else "a dataset's name or folder")
    if isinstance(data, HubDataset) and data.text_field is None and None in (data.source_field, data.target_field):
        raise wrong("data.text_field", None, "a field's name, or data.source_field and data.target_field")
    if isinstance(data, PairFiles):
        _refuse_contradictory_pairs(data)


def _refuse_contradictory_pairs(data: PairFiles) -> None:
    if (data.path is None) == (data.source_path is None):
        raise wrong("data.path", data.path, "one table file, or null with data.source_path and data.target_path")
    for setting in ("source_field", "target_field"):
        field = str(getattr(data, setting))
        if field.startswith("-") and field[1:].isdigit():
            raise wrong(f"data.{setting}", field, "the number of a column, from 0, or its name")
    for split in ("", "validation_", "test_"):
        source, target = f"{split}source_path", f"{split}target_path"
        if (getattr(data, source) is None) != (getattr(data, target) is None):
            raise wrong(f"data.{source}", getattr(data, source), f"set together with data.{target}")


# checking plain values against the schema ------------------------------------------------------------------------

Schema = TypeVar("Schema")


def check(values: Mapping[str, Any], schema: type[Schema], where: str = "") -> Schema:
    """Builds `schema` out of plain values.

    Raises:
        Mistake: an unknown or missing setting, a wrong type, a value out of range.
    """
    hints = get_type_hints(schema, include_extras=True)
    for key in values:
        if key not in hints:
            raise Mistake(f"{where}{key} is no setting{nearest(key, list(hints))}")
    for key in hints:
        if key not in values:
            raise Mistake(f"{where}{key} is missing.")
    return schema(**{key: _value(values[key], hints[key], f"{where}{key}") for key in hints})


def _value(value: Any, kind: Any, where: str) -> Any:
    """`value` as the annotation `kind` wants it."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _in_range(_value(value, get_args(kind)[0], where), get_args(kind)[1], where)
    if origin in (Union, types.UnionType):
        return _one_of(value, get_args(kind), where)
    if origin is Literal:
        return _choice(value, get_args(kind), where)
    if origin is list:
        if not isinstance(value, list):
            raise wrong(where, value, "a list")
        return [_value(item, get_args(kind)[0], f"{where}[{place}]") for place, item in enumerate(value)]
    if is_dataclass(kind):
        return _section(value, [kind], where)
    return _scalar(value, kind, where)


def _in_range(value: Any, bounds: Range, where: str) -> Any:
    if isinstance(value, float) and math.isinf(value):
        raise wrong(where, value, "a finite number")
    if not bounds.holds(value):
        raise wrong(where, value, f"a number {bounds}")
    return value


def _one_of(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    sections = [kind for kind in kinds if is_dataclass(kind)]
    if sections:
        return _section(value, sections, where)
    inner = [kind for kind in kinds if kind is not type(None)]
    inner = [kind for kind in inner if (get_origin(kind) is list) == isinstance(value, list)] or inner
    for kind in inner[:-1]:
        try:
            return _value(value, kind, where)
        except Mistake:
            continue
    return _value(value, inner[-1], where)


def _section(value: Any, sections: list[Any], where: str) -> Any:
    """The section whose `name` literal is the one given; a section without a name stands alone."""
    if not isinstance(value, Mapping):
        raise wrong(where, value, "a group of settings")
    if len(sections) == 1:
        return check(value, sections[0], f"{where}.")
    by_name = {name: section for section in sections for name in get_args(get_type_hints(section)["name"])}
    return check(value, by_name[_choice(value.get("name"), tuple(by_name), where)], f"{where}.")


def _choice(value: Any, choices: tuple[Any, ...], where: str) -> Any:
    if value not in choices:
        raise wrong(where, value, _or(list(choices)) + nearest(str(value), [str(choice) for choice in choices]))
    return value


def _or(words: list[Any]) -> str:
    shown = [str(word) for word in words]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


_SCALARS: dict[type, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    float: (lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number"),
    str: (lambda value: isinstance(value, str), "a text"),
}


def _scalar(value: Any, kind: type, where: str) -> Any:
    fits, words = _SCALARS[kind]
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not fits(value):
        raise wrong(where, value, words)
    return kind(value)


def plain(config: Any) -> Any:
    """The config as dicts, lists and scalars: what `config.yaml` and the checkpoint hold."""
    if is_dataclass(config):
        return {field.name: plain(getattr(config, field.name)) for field in fields(config)}
    return [plain(item) for item in config] if isinstance(config, list) else config
