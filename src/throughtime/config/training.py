"""How a model is trained: through time, on whose words, by which optimiser, and where."""

from dataclasses import dataclass
from typing import Annotated, Literal

from throughtime.config.measuring import Score
from throughtime.config.mistakes import wrong
from throughtime.config.ranges import Count, Natural, Positive, Range, Rate, Share


@dataclass(frozen=True)
class FullBptt:
    """Gradients through the whole sequence."""

    name: Literal["off"]


@dataclass(frozen=True)
class FixedChunks:
    """The gradient is cut every `chunk` steps, while the state is carried on."""

    name: Literal["fixed"]
    chunk: Count


@dataclass(frozen=True)
class JitteredChunks:
    """Chunks of random length around `chunk`, with a learning rate in proportion (Merity et al. 2017, section 5)."""

    name: Literal["jittered"]
    chunk: Annotated[int, Range(at_least=5)]


@dataclass(frozen=True)
class Windows:
    """Every `stride` steps their loss, with its gradient through `window` steps (Williams and Peng 1990)."""

    name: Literal["windows"]
    stride: Count
    window: Count

    def __post_init__(self) -> None:
        if self.window < self.stride:
            raise wrong("tbptt.window", self.window, f"a number of at least tbptt.stride={self.stride}")


@dataclass(frozen=True)
class CheckpointedBptt:
    """Gradients through the whole sequence, of which only the states every `chunk` steps are kept and the rest is
    recomputed; null is the square root of the length (Chen et al. 2016)."""

    name: Literal["checkpointed"]
    chunk: Count | None


Tbptt = FullBptt | FixedChunks | JitteredChunks | Windows | CheckpointedBptt


@dataclass(frozen=True)
class Forcing:
    """The decoder is fed the target's words, replaced by unknown at the rate `word_dropout`."""

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
    """The share grows linearly over `steps` steps."""

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
    """What is minimised: the share `label_smoothing` of the target's probability is spread evenly over all tokens.
    Reported losses and perplexities are without it."""

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
    """The learning rate stays the same."""

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
    """The rate is constant for `hold` epochs, then multiplied by `factor` at each (Zaremba et al. 2014)."""

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
    """The mean of the weights since a validation loss was first worse than the best of all but the last `patience`
    validations before it."""

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
class Flow:
    """At each validation the gradient of the last target's loss is followed back through `rows` of the validation data, in
    a text for at most `steps` steps; 0 rows turn it off."""

    rows: Annotated[int, Range(at_least=0)]
    steps: Annotated[int, Range(at_least=1, at_most=127)]  # a text is validated 128 steps at a time


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after `patience` validations without a better `monitor`; null never stops early."""

    monitor: Literal["loss", "perplexity", "bits_per_character", Score] | None
    patience: Count | None


@dataclass(frozen=True)
class Keep:
    """How many of the best and of the last checkpoints are kept; if several, each in a file of its own."""

    best: Count
    last: Count


@dataclass(frozen=True)
class Trainer:
    """How long to train, on which devices, and how often to validate and save."""

    epochs: Count
    steps: Count | None
    minutes: Annotated[float, Range(above=0, at_most=10_000_000)] | None
    validate_every: Count | None
    accumulate: Count
    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Count
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]
    clip: Clip
    early_stopping: EarlyStopping
    keep: Keep
