"""The cells: their equations, their gates, their one step."""

from collections.abc import Callable
from functools import partial

from throughtime import config
from throughtime.nn.cells.base import Cell
from throughtime.nn.cells.gru import Gru
from throughtime.nn.cells.linear import LinearCell
from throughtime.nn.cells.lstm import Lstm
from throughtime.nn.cells.minimal import MinGru, MinLstm
from throughtime.nn.cells.mlstm import Mlstm
from throughtime.nn.cells.qrnn import ForgetQrnn, InputQrnn, OutputQrnn, Qrnn
from throughtime.nn.cells.rg_lru import RgLru
from throughtime.nn.cells.sru import Sru
from throughtime.nn.cells.vanilla import ReluRnn, TanhRnn

__all__ = ["Cell", "Gru", "LinearCell", "Lstm", "Mlstm", "ReluRnn", "TanhRnn", "cell_class"]


def cell_class(choice: config.Cell) -> Callable[[int, int], Cell]:
    """What makes the cell of `cell=` out of features and hidden units, its settings bound."""
    if isinstance(choice, config.VanillaCell):
        return {"tanh": TanhRnn, "relu": ReluRnn}[choice.nonlinearity]
    if isinstance(choice, config.QrnnCell):
        poolings: dict[str, type[Qrnn]] = {"f": ForgetQrnn, "fo": OutputQrnn, "ifo": InputQrnn}
        return partial(poolings[choice.pooling], taps=choice.window)
    if isinstance(choice, config.MatrixCell):
        return partial(Mlstm, heads=choice.heads)
    plain: dict[str, type[Cell]] = {
        "lstm": Lstm,
        "gru": Gru,
        "mingru": MinGru,
        "minlstm": MinLstm,
        "sru": Sru,
        "rg_lru": RgLru,
    }
    return plain[choice.name]
