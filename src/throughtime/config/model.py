"""What is built: the model, its cell, encoder and context, and its dropout."""

from dataclasses import dataclass
from typing import Annotated, Literal

from throughtime.config.mistakes import alternatives, wrong
from throughtime.config.ranges import Count, Range, Rate, Share


@dataclass(frozen=True)
class LanguageModelShape:
    """Embedding -> stack -> output; `prefix_lm` continues with a target where the source ends."""

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
    """How the recurrent weights start, and the bias of the gate that keeps the state: the same for all units or, with
    `chrono`, giving each unit a time scale of up to this many steps."""

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
    """`recurrence_depth` layers per step."""

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
class OwnCell:
    """A user's class: `my_cells.py:Minimal`, or `my_package.cells:Minimal`."""

    name: Literal["own"]
    path: str | None

    def __post_init__(self) -> None:
        place, _, name = (self.path or "").rpartition(":")
        if not place or not name.isidentifier():
            raise wrong("cell.path", self.path, "a file or module and the class in it, as in my_cells.py:Minimal")


@dataclass(frozen=True)
class BareCell:
    """A cell with nothing to set."""

    name: Literal["indrnn", "mingru", "minlstm", "sru", "rg_lru"]


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
    VanillaCell | GatedCell | ProjectedCell | HighwayCell | HeadedCell | SlowCell | BareCell | QrnnCell | MatrixCell
)


Cell = CatalogueCell | OwnCell
Layers = Literal["last", "sum", "concat"]


@dataclass(frozen=True)
class RecurrentEncoder:
    """A stack; null takes the decoder's value, which is the only way to a user's own cell here."""

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
    """The source summed up in one vector: in the decoder's first state only, in the stack's input at every step, too,
    or in the readout as well."""

    name: Literal["initial_state", "every_step", "every_step_output"]


@dataclass(frozen=True)
class Attentive:
    """Attention whose query is the state `after` a step (Luong et al. 2015) or `before` it (Bahdanau et al. 2015)."""

    query: Literal["after", "before"]
    input_feeding: bool


@dataclass(frozen=True)
class AttentionContext(Attentive):
    """Attention with nothing else to set."""

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
    """No dropout."""

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
    """Units keep their state at random (Krueger et al. 2017), with separate rates for `output` and `memory` (c of an
    LSTM); `rate` as in Zaremba."""

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


WITHOUT_PRODUCT = ("indrnn", "mingru", "minlstm", "sru", "rg_lru", "mlstm")  # cells whose step is pointwise


def widths(model: Model) -> list[int]:
    """The hidden units of each layer."""
    return model.hidden if isinstance(model.hidden, list) else [model.hidden] * model.depth


def output_width(cell: Cell, hidden: int) -> int:
    """The output width of a layer of `hidden` units, in one direction; for a user's own cell, `hidden` is assumed."""
    if isinstance(cell, ProjectedCell):
        return cell.projection or hidden // 2
    return hidden + cell.slow if isinstance(cell, SlowCell) else hidden


def refuse_contradictory_cell(cell: Cell, hidden: int, group: str = "cell", width: str = "model.hidden") -> None:
    """Refuses a cell that does not fit a layer's width. `group`: the one that chose the cell; `width`: the setting that
    gave the width."""
    if isinstance(cell, ProjectedCell) and hidden < 2:
        raise wrong(width, hidden, f"a number of at least 2 with {group}={cell.name}")
    if isinstance(cell, ProjectedCell) and output_width(cell, hidden) >= hidden:
        raise wrong(f"{group}.projection", cell.projection, f"a number of at least 1 and below {width}={hidden}")
    if isinstance(cell, HeadedCell | MatrixCell) and hidden % cell.heads:
        raise wrong(f"{group}.heads", cell.heads, f"a divisor of {width}={hidden}")


def engines_of(cell: str) -> list[str]:
    """The engines that run a cell of the catalogue; a user's own cell may be of any kind."""
    linear = cell in ("mingru", "minlstm", "sru", "qrnn", "rg_lru", "mlstm")
    runs = {"native": cell in ("rnn", "lstm", "gru"), "fused": cell != "mlstm", "scan": linear}
    return ["auto", "loop", *(engine for engine, has in runs.items() if has or cell == "own")]


def refuse_other_engine(engine: str, cell: Cell, dropout: Dropout, documents: str) -> None:
    """Refuses an engine that cannot run the cell with the other settings, so that another would take its place."""
    able, unable = engines_of(cell.name), {f"cell={cell.name}": list[str]()}
    if _within_step(dropout):
        unable[f"dropout={dropout.name}, which works within the step"] = ["native", "scan"]
    if documents == "reset":
        unable["batch.documents=reset"] = ["native"]
    for reason, others in unable.items():
        able = [one for one in able if one not in others]
        if engine not in able:
            raise wrong("engine", engine, f"{alternatives(able)} with {reason}")


def _within_step(dropout: Dropout) -> bool:
    """Whether the dropout acts within the step."""
    if isinstance(dropout, Variational):
        return dropout.state > 0
    return isinstance(dropout, Zoneout) or (isinstance(dropout, RecurrentDropout) and dropout.candidate > 0)


def refuse_contradictory_dropout(dropout: Dropout, cell: Cell) -> None:
    """Refuses dropout of what a cell does not have."""
    if isinstance(dropout, Variational) and dropout.state and cell.name in (*WITHOUT_PRODUCT, "qrnn"):
        raise wrong(
            "dropout.state", dropout.state, f"0 with cell={cell.name}, whose step multiplies no state by weights"
        )
    if isinstance(dropout, Awd) and dropout.weights and cell.name in WITHOUT_PRODUCT:
        raise wrong("dropout.weights", dropout.weights, f"0 with cell={cell.name}, which has no recurrent weights")
    if isinstance(dropout, RecurrentDropout) and cell.name not in ("lstm", "gru"):
        raise wrong("dropout", "recurrent", f"another one with cell={cell.name}; recurrent is for lstm and gru")
    if isinstance(dropout, Zoneout) and isinstance(cell, MatrixCell):
        raise wrong("dropout", "zoneout", "another one with cell=mlstm, which reads no state of the step before")
