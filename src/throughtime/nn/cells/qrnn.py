"""The quasi-recurrent network (Bradbury et al. 2017): gates by a convolution over time, then pooling."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from throughtime.nn.cells.linear import LinearCell


class Qrnn(LinearCell):
    """What the three poolings share: a = W_0 x_t + W_1 x_{t-1} + ... + W_{k-1} x_{t-k+1} + b, k being `taps`.

    W_0 is weight_input (gates * hidden, features), the others stand side by side in weight_window (gates * hidden,
    (k - 1) * features). The state `window` holds the inputs x_{t-1}, ..., x_{t-k+1}, and zeros before the first.
    Glorot weights over all taps; biases, which the paper omits, 0.
    """

    window: ClassVar[str] = "window"

    def __init__(self, features: int, hidden: int, taps: int = 2):
        width = (taps - 1) * features
        super().__init__(features, hidden, sizes=dict.fromkeys(self.states, hidden) | {"window": width}, passes=True)
        self.weight_window = nn.Parameter(torch.empty(self.gates * hidden, width))
        blocks = zip(self.weight_input.data.split(hidden), self.weight_window.data.split(hidden), strict=True)
        for block, earlier in blocks:
            whole = nn.init.xavier_uniform_(torch.empty(hidden, taps * features))
            block.copy_(whole[:, :features])
            earlier.copy_(whole[:, features:])

    def matrices(self) -> list[tuple[Tensor, Tensor | None]]:
        return [(self.weight_window, None)]


class ForgetQrnn(Qrnn):
    """f-pooling, gates in the order z, f; states h and window.

    z = tanh(a_z), f = sigmoid(a_f)
    h_t = f * h_{t-1} + (1 - f) * z
    """

    states = ("h", "window")
    gates = 2

    def coefficients(self, gates: Tensor, inputs: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        z, f = gates.chunk(2, dim=-1)
        f = torch.sigmoid(f)
        return f, (1 - f) * torch.tanh(z)


class OutputQrnn(Qrnn):
    """fo-pooling, gates in the order z, f, o; states h, which no step reads, c and window.

    z = tanh(a_z), f = sigmoid(a_f), o = sigmoid(a_o)
    c_t = f * c_{t-1} + (1 - f) * z
    h_t = o * c_t
    """

    states = ("h", "c", "window")
    gates = 3
    carried = "c"

    def coefficients(self, gates: Tensor, inputs: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        z, f, o = gates.chunk(3, dim=-1)
        f = torch.sigmoid(f)
        return f, (1 - f) * torch.tanh(z), torch.sigmoid(o)

    def output(self, carried: Tensor, *gates: Tensor) -> Tensor:
        return gates[0] * carried


class InputQrnn(Qrnn):
    """ifo-pooling, gates in the order z, i, f, o; states h, which no step reads, c and window.

    z = tanh(a_z), i = sigmoid(a_i), f = sigmoid(a_f), o = sigmoid(a_o)
    c_t = f * c_{t-1} + i * z
    h_t = o * c_t
    """

    states = ("h", "c", "window")
    gates = 4
    carried = "c"

    def coefficients(self, gates: Tensor, inputs: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
        z, i, f, o = gates.chunk(4, dim=-1)
        return torch.sigmoid(f), torch.sigmoid(i) * torch.tanh(z), torch.sigmoid(o)

    def output(self, carried: Tensor, *gates: Tensor) -> Tensor:
        return gates[0] * carried
