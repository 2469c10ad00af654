"""One file per cell: its equations, its gates, its one step."""

from throughtime import config
from throughtime.nn.cells.base import Cell
from throughtime.nn.cells.gru import Gru
from throughtime.nn.cells.lstm import Lstm
from throughtime.nn.cells.vanilla import ReluRnn, TanhRnn

__all__ = ["Cell", "Gru", "Lstm", "ReluRnn", "TanhRnn", "cell_class"]


def cell_class(choice: config.Cell) -> type[Cell]:
    """The cell of `cell=`."""
    if isinstance(choice, config.VanillaCell):
        return {"tanh": TanhRnn, "relu": ReluRnn}[choice.nonlinearity]
    return {"lstm": Lstm, "gru": Gru}[choice.name]
