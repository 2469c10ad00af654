"""Where the model looked: attention weights for each token of a hypothesis, as numbers, as a text grid, as an image."""

from html import escape
from pathlib import Path
from typing import Any

from throughtime import config
from throughtime.run.decode.loading import Loaded
from throughtime.run.decode.sources import Source
from throughtime.search import Hypothesis, complete, force

END = "<eos>"
SHADES = " ░▒▓█"
CELL = 20  # pixels of an image's cell


def add(
    results: list[dict[str, Any]], loaded: Loaded, ids: list[list[int]], found: list[list[Hypothesis]], asked: str
) -> None:
    """Adds `source_tokens` to each result, and `attention` to each of its hypotheses: a row for each token, eos
    included if finished, with a weight for each token of the source and its eos. `asked`: the value of `attention=`.

    Raises:
        Mistake: the model has no attention.
    """
    rows = [(row, hypothesis) for row, hypotheses in enumerate(found) for hypothesis in hypotheses if hypothesis.length]
    looked = force(loaded.stepper, [ids[row] for row, _ in rows], [complete(hypothesis) for _, hypothesis in rows])
    if any(forced.attention is None for forced in looked):
        raise config.wrong("attention", asked, "none with a checkpoint whose model has no attention")
    weights = iter([[round(weight, 4) for weight in step] for step in forced.attention or []] for forced in looked)
    for result, hypotheses, source in zip(results, found, ids, strict=True):
        result["source_tokens"] = [*(loaded.reads.decode([token]) for token in source), END]
        for described, hypothesis in zip(result["hypotheses"], hypotheses, strict=True):
            described["attention"] = next(weights) if hypothesis.length else []


def grid(source: list[str], hypothesis: dict[str, Any]) -> str:
    """Lines of text: a column for each token of the source, shaded by its weight; then an empty line."""
    columns = [_visible(token) for token in source]
    rows = _rows(hypothesis)
    margin = max((len(row) for row in rows), default=0)
    lines = [" ".join([" " * margin, *columns])]
    for row, weights in zip(rows, hypothesis["attention"], strict=True):
        cells = [_shade(weight) * len(column) for column, weight in zip(columns, weights, strict=True)]
        lines.append(" ".join([row.rjust(margin), *cells]).rstrip())
    return "\n".join(lines) + "\n\n"


def _rows(hypothesis: dict[str, Any]) -> list[str]:
    return [*map(_visible, hypothesis["tokens"]), END][: len(hypothesis["attention"])]


def _visible(token: str) -> str:
    return token.strip().replace("\n", "\\n") or "_"


def _shade(weight: float) -> str:
    return SHADES[round(weight * (len(SHADES) - 1))]


def images(target: Path) -> Path:
    """The folder for the images of an output file."""
    return target.with_name(f"{target.name}.attention")


def draw(result: dict[str, Any], source: Source) -> None:
    """Writes an SVG file of the best hypothesis, named after its line."""
    assert source.target is not None
    folder = images(source.target)
    folder.mkdir(exist_ok=True)
    best = result["hypotheses"][0]
    picture = svg([_visible(token) for token in result["source_tokens"]], _rows(best), best["attention"])
    (folder / f"{result['line']:06d}.svg").write_text(picture, encoding="utf-8")


def svg(columns: list[str], rows: list[str], weights: list[list[float]]) -> str:
    """A grid whose cells are darker the larger their weights."""
    left, top = (CELL // 2 * (1 + max(map(len, names), default=0)) for names in (rows, columns))
    width, height = left + CELL * len(columns), top + CELL * len(rows)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="monospace">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    for place, name in enumerate(columns):
        at = f"translate({left + CELL * place + CELL * 0.7:g} {top - 4}) rotate(-90)"
        parts.append(f'<text transform="{at}">{escape(name)}</text>')
    for line, (name, row) in enumerate(zip(rows, weights, strict=True)):
        down = top + CELL * line
        parts.append(f'<text x="{left - 4}" y="{down + CELL * 0.7:g}" text-anchor="end">{escape(name)}</text>')
        for place, weight in enumerate(row):
            across = left + CELL * place
            parts.append(f'<rect x="{across}" y="{down}" width="{CELL}" height="{CELL}" fill-opacity="{weight:g}"/>')
    return "\n".join([*parts, "</svg>\n"])
