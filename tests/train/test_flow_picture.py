"""What stands in the picture of the gradient's way."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from throughtime.train.flow import Flow, append, read
from throughtime.train.flow_picture import draw

FLOWS = {
    "rnn": [Flow("below", "h", [4.0, 2.0, 0.0]), Flow("above", "h", [1.0, 3.0])],
    "lstm": [Flow("below", "h", [2.0, 1.0]), Flow("below", "c", [1.0, 0.5])],
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    saved = Figure.savefig

    def save(figure: Figure, *arguments: object, **named: object) -> None:
        figures.append(figure)
        saved(figure, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", save)
    return figures


def test_a_panel_for_each_layer_holds_every_curve_by_its_largest(drawn: list[Figure], tmp_path: Path) -> None:
    draw(tmp_path / "flow.png", FLOWS)
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    panels = {panel.get_title(): panel.get_lines()[1:] for panel in figure.axes}  # behind the level of what is gone
    found = {layer: [np.asarray(line.get_ydata()).tolist() for line in lines] for layer, lines in panels.items()}
    assert found == {
        "below": [pytest.approx([1.0, 0.5, float("nan")], nan_ok=True), [1.0, 0.5], [1.0, 0.5]],
        "above": [[pytest.approx(1 / 3), 1.0]],
    }
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rnn", "lstm", "h", "c"]
    looks = [(line.get_color(), line.get_linestyle()) for lines in panels.values() for line in lines]
    assert looks[0] == looks[3] and len(set(looks[:3])) == 3  # by label and state


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 7])
def test_there_are_as_many_panels_as_layers(layers: int, drawn: list[Figure], tmp_path: Path) -> None:
    draw(tmp_path / "flow.png", {"": [Flow(f"layer {at}", "h", [1.0, 0.1]) for at in range(layers)]})
    assert [panel.get_title() for panel in drawn[0].axes] == [f"layer {at}" for at in range(layers)]
    assert all(tick % 1 == 0 for panel in drawn[0].axes for tick in panel.get_xticks())


def test_nothing_that_flows_is_a_picture_too(tmp_path: Path) -> None:
    draw(tmp_path / "flow.png", {"step 1": [Flow("a", "h", [0.0, 0.0]), Flow("b", "h", [float("nan"), 1.0])]})
    assert (tmp_path / "flow.png").exists()


def test_the_last_flows_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "gradient_flow.jsonl"
    for step, flows in enumerate(FLOWS.values()):
        append(file, {"epoch": 0, "step": step}, flows)
    assert list(read(file).values()) == list(FLOWS.values())
    assert read(tmp_path / "none.jsonl") == {}
