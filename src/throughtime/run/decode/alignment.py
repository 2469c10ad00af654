"""Where the model looked: attention weights for each token of a hypothesis, beside it or as an image."""

from pathlib import Path
from typing import Any

from throughtime import attention_grid, config
from throughtime.attention_grid import END
from throughtime.run.decode.loading import Loaded
from throughtime.run.decode.sources import Source
from throughtime.search import Hypothesis, complete, force


def add(
    results: list[dict[str, Any]], loaded: Loaded, sources: list[list[int]], found: list[list[Hypothesis]], setting: str
) -> None:
    """Adds `source_tokens` to each result, and `attention` to each of its hypotheses: a row for each token, eos
    included if finished, with a weight for each token of the source and its eos. `found`: the hypotheses of each of
    the `sources`; `setting`: the value of `attention=`.

    Raises:
        Mistake: the model has no attention.
    """
    pairs = [(source, one) for source, all_of in zip(sources, found, strict=True) for one in all_of if one.length]
    read_again = force(loaded.stepper, [source for source, _ in pairs], [complete(one) for _, one in pairs])
    if any(forced.attention is None for forced in read_again):
        raise config.wrong("attention", setting, "none with a checkpoint whose model has no attention")
    weights = iter([[round(weight, 4) for weight in step] for step in forced.attention or []] for forced in read_again)
    for result, hypotheses, source in zip(results, found, sources, strict=True):
        result["source_tokens"] = [*(loaded.reads.decode([token]) for token in source), END]
        for described, hypothesis in zip(result["hypotheses"], hypotheses, strict=True):
            described["attention"] = next(weights) if hypothesis.length else []


def rows(hypothesis: dict[str, Any]) -> list[str]:
    """The tokens of a hypothesis for which there are weights."""
    return [*hypothesis["tokens"], END][: len(hypothesis["attention"])]


def images(target: Path) -> Path:
    """The folder for the images of an output file."""
    return target.with_name(f"{target.name}.attention")


def draw(result: dict[str, Any], source: Source) -> None:
    """Writes an SVG file of the best hypothesis, named after its line."""
    assert source.target is not None
    folder = images(source.target)
    folder.mkdir(exist_ok=True)
    best = result["hypotheses"][0]
    picture = attention_grid.svg(result["source_tokens"], rows(best), best["attention"])
    (folder / f"{result['line']:06d}.svg").write_text(picture, encoding="utf-8")
