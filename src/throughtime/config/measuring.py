"""How a model is tested and measured, and what is shown of it during training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from throughtime.config.ranges import Count, Natural, Positive, Range, Rate, Share

Score = Literal[
    "exact_match", "bleu", "bleu_lowercase", "bleu_intl", "bleu_zh", "bleu_char", "chrf", "token_error_rate",
    "rouge1", "rouge2", "rougeL", "parses", "token_bleu",
]  # fmt: skip


@dataclass(frozen=True)
class StaticEvaluation:
    """The test text is read with fixed weights."""

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
    """The weights adapt to the test text after each `chunk` of steps (Krause et al. 2018)."""

    name: Literal["dynamic"]
    lr: Positive
    decay: Share
    chunk: Count = 128


Evaluation = StaticEvaluation | CacheEvaluation | DynamicEvaluation


@dataclass(frozen=True)
class Metrics:
    """How decoded texts are compared with their references (`train/quality.py`)."""

    scores: list[Score]


@dataclass(frozen=True)
class Decoding:
    """What is decoded and shown at each validation."""

    examples: Natural
    sentences: Count | None
    prompts: list[str] | None
    prompt_length: Count
    alignments: Natural = 0
