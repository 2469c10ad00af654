"""`cell=` -> a function that makes a cell."""

from functools import partial

from throughtime import config
from throughtime.nn.cells import CELLS, LINEAR, POOLINGS, Mlstm, ReluRnn, Start, TanhRnn
from throughtime.nn.cells.own import own_cell
from throughtime.nn.cells.trial import tried
from throughtime.nn.stack import CellMaker


def cell_maker(choice: config.Cell) -> CellMaker:
    """A function from features and hidden units to the cell of `cell=`, with its settings bound.

    Raises:
        Mistake: `cell.path` names no cell; the function raises one, too, if that cell fails.
    """
    if isinstance(choice, config.OwnCell):
        return partial(tried, choice.path or "", own_cell(choice.path or ""))
    if isinstance(choice, config.QrnnCell):
        return partial(POOLINGS[choice.pooling], taps=choice.window)
    if isinstance(choice, config.MatrixCell):
        return partial(Mlstm, heads=choice.heads)
    given = {setting: value for setting, value in config.plain(choice).items() if setting != "name"}
    start = {setting: given.pop(setting) for setting in ("recurrent", "forget_bias", "chrono") if setting in given}
    if start:
        given["start"] = Start(**start)
    if isinstance(choice, config.VanillaCell):
        return partial({"tanh": TanhRnn, "relu": ReluRnn}[given.pop("nonlinearity")], **given)
    return partial((CELLS | LINEAR)[choice.name], **given)
