"""The long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000) and its kin."""

import torch
from torch import Tensor, nn

from throughtime.nn.cells.base import Cell, CellState, Stage
from throughtime.nn.cells.start import Start


class Lstm(Cell):
    """Gates in the order i, f, g, o; each a = W x_t + b + R h_{t-1} + c.

    i = sigmoid(a_i), f = sigmoid(a_f), g = tanh(a_g), o = sigmoid(a_o)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

    The forget gate's bias starts at 1 (Jozefowicz et al. 2015).
    """

    states = ("h", "c")
    gates = 4
    keeps, writes = 1, 0
    start = Start(forget_bias=1.0)

    @staticmethod
    def step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState, kept: Tensor | None = None) -> CellState:
        """One step; `kept`: a factor for g, by dropout."""
        i, f, g, o = (input_gates + recurrent_gates).chunk(4, dim=-1)
        g = torch.tanh(g) if kept is None else kept * torch.tanh(g)
        c = torch.sigmoid(f) * state["c"] + torch.sigmoid(i) * g
        return {"h": torch.sigmoid(o) * torch.tanh(c), "c": c}


class PeepholeLstm(Cell):
    """The LSTM whose gates see the cell memory (Gers and Schmidhuber 2000): i and f the old one, o the new one.

    i = sigmoid(a_i + p_i * c_{t-1}), f = sigmoid(a_f + p_f * c_{t-1}), g = tanh(a_g)
    c_t = f * c_{t-1} + i * g
    o = sigmoid(a_o + p_o * c_t)
    h_t = o * tanh(c_t)

    Gates in the order i, f, g, o; each a = W x_t + b + R h_{t-1} + c. The peepholes p start at 0, the forget bias at 1.
    """

    states = ("h", "c")
    gates = 4
    vectors = ("peephole_i", "peephole_f", "peephole_o")
    keeps, writes = 1, 0
    start = Start(forget_bias=1.0)

    def __init__(self, features: int, hidden: int, start: Start | None = None):
        super().__init__(features, hidden, start)
        for name in self.vectors:
            self.register_parameter(name, nn.Parameter(torch.zeros(hidden)))

    @staticmethod
    def step(
        input_gates: Tensor, recurrent_gates: Tensor, state: CellState, p_i: Tensor, p_f: Tensor, p_o: Tensor
    ) -> CellState:
        i, f, g, o = (input_gates + recurrent_gates).chunk(4, dim=-1)
        before = state["c"]
        c = torch.sigmoid(f + p_f * before) * before + torch.sigmoid(i + p_i * before) * torch.tanh(g)
        return {"h": torch.sigmoid(o + p_o * c) * torch.tanh(c), "c": c}


class CoupledLstm(Cell):
    """The LSTM that writes as much as it forgets, i = 1 - f (Greff et al. 2017); gates in the order f, g, o.

    f = sigmoid(a_f), g = tanh(a_g), o = sigmoid(a_o), each a = W x_t + b + R h_{t-1} + c
    c_t = f * c_{t-1} + (1 - f) * g
    h_t = o * tanh(c_t)

    The forget gate's bias starts at 1.
    """

    states = ("h", "c")
    gates = 3
    keeps = 0
    start = Start(forget_bias=1.0)

    @staticmethod
    def step(input_gates: Tensor, recurrent_gates: Tensor, state: CellState) -> CellState:
        f, g, o = (input_gates + recurrent_gates).chunk(3, dim=-1)
        f = torch.sigmoid(f)
        c = f * state["c"] + (1 - f) * torch.tanh(g)
        return {"h": torch.sigmoid(o) * torch.tanh(c), "c": c}


class ProjectedLstm(Cell):
    """The LSTM with a narrower output (Sak et al. 2014), as in torch.nn.LSTM(proj_size=projection).

    i, f, g, o and c_t as in the LSTM, gates in that order
    h_t = P (o * tanh(c_t))

    State h is `projection` wide (None: half of hidden), c is `hidden` wide; weight_hidden (4 * hidden, projection),
    weight_projection P (projection, hidden), orthogonal at first. The forget gate's bias starts at 1.
    """

    states = ("h", "c")
    gates = 4
    keeps, writes = 1, 0
    start = Start(forget_bias=1.0)

    def __init__(self, features: int, hidden: int, start: Start | None = None, projection: int | None = None):
        projection = projection or hidden // 2
        sizes = {"h": projection, "c": hidden}
        super().__init__(features, hidden, start, sizes=sizes, recurrent=(4 * hidden, projection))
        self.weight_projection = nn.Parameter(nn.init.orthogonal_(torch.empty(projection, hidden)))

    @staticmethod
    def _remember(input_gates: Tensor, recurrent_gates: Tensor, state: CellState) -> CellState:
        after = Lstm.step(input_gates, recurrent_gates, state)
        return {"whole": after["h"], "c": after["c"]}

    @staticmethod
    def _project(_: Tensor, product: Tensor, __: CellState) -> CellState:
        return {"h": product}

    def stages(self) -> tuple[Stage, ...]:
        return Stage("h", 4, self._remember), Stage("whole", 1, self._project)

    def matrices(self) -> list[tuple[Tensor, Tensor | None]]:
        return [(self.weight_hidden, self.bias_hidden), (self.weight_projection, None)]


class MultiplicativeLstm(Cell):
    """The LSTM whose recurrent weights depend on the input (Krause et al. 2016): m_t takes the place of h_{t-1}.

    m_t = (W_m x_t + b_m) * (R_m h_{t-1} + c_m)
    i = sigmoid(a_i), f = sigmoid(a_f), g = tanh(a_g), o = sigmoid(a_o), each a = W x_t + b + R m_t + c
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

    Blocks of the weights in the order m, i, f, g, o. The forget gate's bias starts at 1.
    """

    states = ("h", "c")
    gates = 5
    keeps, writes = 2, 1
    start = Start(forget_bias=1.0)

    @staticmethod
    def _multiply(input_gates: Tensor, product: Tensor, _: CellState) -> CellState:
        return {"m": input_gates.chunk(5, dim=-1)[0] * product}

    @staticmethod
    def _remember(input_gates: Tensor, product: Tensor, state: CellState) -> CellState:
        return Lstm.step(input_gates[..., product.shape[-1] // 4 :], product, state)

    def stages(self) -> tuple[Stage, ...]:
        return Stage("h", 1, self._multiply), Stage("m", 4, self._remember)
