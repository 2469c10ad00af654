"""The cells: their equations, their gates, their one step."""

from collections.abc import Callable
from functools import partial

from throughtime import config
from throughtime.nn.cells.base import Cell
from throughtime.nn.cells.gru import ChoGru, Gru, MinimalGru
from throughtime.nn.cells.highway import RecurrentHighway
from throughtime.nn.cells.independent import IndRnn
from throughtime.nn.cells.layer_norm import LayerNormGru, LayerNormLstm
from throughtime.nn.cells.lstm import CoupledLstm, Lstm, MultiplicativeLstm, PeepholeLstm, ProjectedLstm
from throughtime.nn.cells.own import own_cell
from throughtime.nn.cells.slow import Scrn
from throughtime.nn.cells.slstm import Slstm
from throughtime.nn.cells.start import Start
from throughtime.nn.cells.vanilla import ReluRnn, TanhRnn

__all__ = ["CELLS", "Cell", "Gru", "Lstm", "ReluRnn", "Start", "TanhRnn", "cell_class"]

CELLS: dict[str, type[Cell]] = {
    "lstm": Lstm,
    "peephole_lstm": PeepholeLstm,
    "coupled_lstm": CoupledLstm,
    "projected_lstm": ProjectedLstm,
    "layer_norm_lstm": LayerNormLstm,
    "multiplicative_lstm": MultiplicativeLstm,
    "slstm": Slstm,
    "gru": Gru,
    "cho_gru": ChoGru,
    "layer_norm_gru": LayerNormGru,
    "minimal_gru": MinimalGru,
    "highway": RecurrentHighway,
    "indrnn": IndRnn,
    "scrn": Scrn,
}


def cell_class(choice: config.Cell) -> Callable[[int, int], Cell]:
    """What makes the cell of `cell=` out of features and hidden units, its settings bound.

    Raises:
        Mistake: `cell.path` names no cell.
    """
    if isinstance(choice, config.OwnCell):
        return own_cell(choice.path or "")
    given = {setting: value for setting, value in config.plain(choice).items() if setting != "name"}
    start = Start(
        **{setting: given.pop(setting) for setting in ("recurrent", "forget_bias", "chrono") if setting in given}
    )
    if isinstance(choice, config.VanillaCell):
        return partial({"tanh": TanhRnn, "relu": ReluRnn}[choice.nonlinearity], start=start)
    return partial(CELLS[choice.name], start=start, **given)
