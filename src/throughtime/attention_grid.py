"""Attention weights as people look at them: a row for each token written, a column for each token read."""

import re
from html import escape

END = "<eos>"
SHADES = " ░▒▓█"
UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # which XML forbids
CELL = 20  # pixels of an image's cell


def text(columns: list[str], rows: list[str], weights: list[list[float]]) -> str:
    """Lines of text, each cell shaded by its weight; then an empty line."""
    names, columns = [_visible(row) for row in rows], [_visible(column) for column in columns]
    margin = max((len(name) for name in names), default=0)
    lines = [" ".join([" " * margin, *columns])]
    for name, row in zip(names, weights, strict=True):
        cells = [_shade(weight) * len(column) for column, weight in zip(columns, row, strict=True)]
        lines.append(" ".join([name.rjust(margin), *cells]).rstrip())
    return "\n".join(lines) + "\n\n"


def svg(columns: list[str], rows: list[str], weights: list[list[float]]) -> str:
    """An image whose cells are darker the larger their weights."""
    names, columns = [_visible(row) for row in rows], [_visible(column) for column in columns]
    left, top = (CELL // 2 * (1 + max(map(len, side), default=0)) for side in (names, columns))
    width, height = left + CELL * len(columns), top + CELL * len(names)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="monospace">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    for place, name in enumerate(columns):
        at = f"translate({left + CELL * place + CELL * 0.7:g} {top - 4}) rotate(-90)"
        parts.append(f'<text transform="{at}">{escape(name)}</text>')
    for line, (name, row) in enumerate(zip(names, weights, strict=True)):
        down = top + CELL * line
        parts.append(f'<text x="{left - 4}" y="{down + CELL * 0.7:g}" text-anchor="end">{escape(name)}</text>')
        for place, weight in enumerate(row):
            across = left + CELL * place
            parts.append(f'<rect x="{across}" y="{down}" width="{CELL}" height="{CELL}" fill-opacity="{weight:g}"/>')
    return "\n".join([*parts, "</svg>\n"])


def _visible(token: str) -> str:
    return UNSEEN.sub("\ufffd", token.strip().replace("\n", "\\n")) or "_"


def _shade(weight: float) -> str:
    return SHADES[round(weight * (len(SHADES) - 1))]
