"""How decoding searches."""

from dataclasses import dataclass
from typing import Annotated, Literal

from throughtime.config.mistakes import wrong
from throughtime.config.ranges import Beams, Count, Mass, Natural, Range, Share, Temperature


@dataclass(frozen=True)
class Limits:
    """What every search observes: the number of tokens of a hypothesis, eos included; `repetition`, the factor on the
    log-probability of a token that has already occurred; `block_ngrams`, the length of token sequences that never occur
    twice; `banned`, texts that never occur."""

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
    """Ancestral sampling, from a distribution that may be sharpened or truncated first."""

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
    size: Beams
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
    size: Beams


@dataclass(frozen=True)
class MinimumBayesRisk(Sample):
    """Of `samples`, those that are most similar to the others on average (minimum Bayes risk), by chrF or BLEU."""

    name: Literal["minimum_bayes_risk"]  # type: ignore[assignment]
    utility: Literal["chrf", "bleu"]
    n_best: Count


Search = Greedy | Sample | Beam | StochasticBeam | MinimumBayesRisk


def refuse_contradictory_search(setting: str, search: Search) -> None:
    """Refuses settings of a search that contradict each other; `setting` names the search."""
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
    if isinstance(search, Beam) and search.finished is not None and search.stop != "finished":
        raise wrong(f"{setting}.finished", search.finished, f"null with {setting}.stop={search.stop}")
    if isinstance(search, Beam) and search.finished is not None and search.finished < search.n_best:
        raise wrong(f"{setting}.finished", search.finished, f"at least {setting}.n_best={search.n_best}")
