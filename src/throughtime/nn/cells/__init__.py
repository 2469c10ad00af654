"""The cells: their equations, their gates, their one step."""

from collections.abc import Callable

from throughtime.nn.cells.base import Cell
from throughtime.nn.cells.gru import ChoGru, Gru, MinimalGru
from throughtime.nn.cells.highway import RecurrentHighway
from throughtime.nn.cells.independent import IndRnn
from throughtime.nn.cells.layer_norm import LayerNormGru, LayerNormLstm
from throughtime.nn.cells.linear import LinearCell
from throughtime.nn.cells.lstm import CoupledLstm, Lstm, MultiplicativeLstm, PeepholeLstm, ProjectedLstm
from throughtime.nn.cells.minimal import MinGru, MinLstm
from throughtime.nn.cells.mlstm import Mlstm
from throughtime.nn.cells.qrnn import ForgetQrnn, InputQrnn, OutputQrnn
from throughtime.nn.cells.rg_lru import RgLru
from throughtime.nn.cells.slow import Scrn
from throughtime.nn.cells.slstm import Slstm
from throughtime.nn.cells.sru import Sru
from throughtime.nn.cells.start import Start
from throughtime.nn.cells.vanilla import ReluRnn, TanhRnn

__all__ = ["CELLS", "LINEAR", "POOLINGS", "Cell", "Gru", "LinearCell", "Lstm", "Mlstm", "ReluRnn", "Start", "TanhRnn"]

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
LINEAR: dict[str, type[Cell]] = {"mingru": MinGru, "minlstm": MinLstm, "sru": Sru, "rg_lru": RgLru}
POOLINGS: dict[str, Callable[..., Cell]] = {"f": ForgetQrnn, "fo": OutputQrnn, "ifo": InputQrnn}
