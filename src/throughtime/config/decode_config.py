"""All settings of `python decode.py`, and which of them contradict each other."""

from dataclasses import dataclass
from typing import Annotated, Literal

from throughtime.config.mistakes import wrong
from throughtime.config.ranges import Count, Natural, Range, Seed
from throughtime.config.search import Search, refuse_contradictory_search


@dataclass(frozen=True)
class Shortlist:
    """The `best` translations of each source word of a batch, learned from the lines of `source` and `target` (Jean et al.
    2015), and the most `frequent` target words; without files, all words."""

    source: str | None
    target: str | None
    best: Count
    frequent: Natural


@dataclass(frozen=True)
class DecodeConfig:
    """All settings of `python decode.py`."""

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
            raise wrong("checkpoint", self.checkpoint, "a checkpoint file, the folder of a run or a sweep, or last")
        _refuse_contradictory_decoding(self)
        refuse_contradictory_search("search", self.search)


def _refuse_contradictory_decoding(config: DecodeConfig) -> None:
    if not config.input or (isinstance(config.input, list) and len(config.input) > 1 and "-" in config.input):
        raise wrong("input", config.input, "a file, a folder, a list of them, or - alone for standard input")
    if not config.output:
        raise wrong("output", config.output, "a file, a folder, or - for standard output")
    if config.resume and config.output == "-":
        raise wrong("resume", True, "false with output=-, where nothing can be taken up again")
    if config.targets is not None and config.mode != "score":
        raise wrong("targets", config.targets, "null without mode=score")
    if config.mode == "score":
        _refuse_with_scores(config)
    if (config.shortlist.source is None) != (config.shortlist.target is None):
        raise wrong("shortlist.target", config.shortlist.target, "a text where shortlist.source is one, else null")
    if config.references == []:
        raise wrong("references", [], "a file, a folder, a list of them, or null")
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
