"""A picture of where the gradient vanishes."""

from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from throughtime.train.flow import FAINT, Flow
from throughtime.whole import whole_file

ABREAST = 3  # panels
PANEL = 3.6, 2.8  # inches, width and height
LEGEND = 1.6  # inches
LOWEST = 1e-6  # of the largest norm; far below what counts
STYLES = ("-", "--", ":", "-.")
BRIGHTEST = 0.88  # of the palette; anything brighter is lost on white


def draw(path: Path, flows: dict[str, list[Flow]]) -> None:
    """Writes a PNG: a panel for each layer and direction, a colour for each label, a line style for each state tensor.
    Each curve shows the norms over the steps back, as shares of its largest; a line marks where they count as vanished.

    Args:
        flows: by label; at least one.

    Raises:
        OSError: the file cannot be written.
    """
    layers = list(dict.fromkeys(flow.layer for found in flows.values() for flow in found))
    states = list(dict.fromkeys(flow.state for found in flows.values() for flow in found))
    palette = colormaps["viridis"]
    colours = {label: palette(BRIGHTEST * at / max(1, len(flows) - 1)) for at, label in enumerate(flows)}
    styles: dict[str, Any] = {state: STYLES[at % len(STYLES)] for at, state in enumerate(states)}
    figure, panels = _canvas(layers)
    for label, found in flows.items():
        for flow in found:
            share = [norm / max(flow.norms) if norm else float("nan") for norm in flow.norms]
            panels[flow.layer].plot(share, color=colours[label], linestyle=styles[flow.state])
    handles = [Line2D([], [], color=colour, label=label) for label, colour in colours.items()]
    handles += [Line2D([], [], color="gray", linestyle=style, label=state) for state, style in styles.items()]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    with whole_file(path) as fresh:
        figure.savefig(fresh, format="png")


def _canvas(layers: list[str]) -> tuple[Figure, dict[str, Axes]]:
    """An empty panel for each layer."""
    across = min(ABREAST, len(layers))
    down = -(-len(layers) // across)
    figure = Figure(figsize=(PANEL[0] * across + LEGEND, PANEL[1] * down), dpi=100, layout="constrained")
    axes: Any = figure.subplots(down, across, sharey=True, squeeze=False)
    for panel in axes.flat[len(layers) :]:
        panel.remove()
    panels = dict(zip(layers, axes.flat, strict=False))
    for layer, panel in panels.items():
        panel.set(title=layer, xlabel="steps back", yscale="log", ylim=(LOWEST, 2))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.axhline(FAINT, color="lightgray")
    figure.supylabel("share of the largest norm", fontsize="medium")
    return figure, panels
