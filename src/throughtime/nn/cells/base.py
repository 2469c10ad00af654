"""What every cell is: parameters, and one step made of pointwise functions between products that the engine computes."""

from abc import ABC
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.nn.cells.start import Start
from throughtime.nn.products import linear

CellState = dict[str, Tensor]
StageFunction = Callable[..., CellState]
Matrices = list[tuple[Tensor, Tensor | None]]  # weight (out, in) and bias of each stage
Product = Callable[[Tensor], Tensor]  # of a carried tensor and a stage's matrix


class Stage(NamedTuple):
    """One product with a carried tensor, and the pointwise rest after it; most cells are a single stage.

    The engine multiplies `operand`, a state or what an earlier stage of the same step returned, by the next `blocks` *
    hidden rows of the recurrent weight, and calls `function(input gates, product, carried, *vectors)`, which treats each
    row by itself. What it returns replaces carried tensors of that name or joins them; after the last stage every state
    must be new. Without an operand there is no product, and `None` is passed in its place.
    """

    operand: str | None
    blocks: int
    function: StageFunction


def one_step(
    stages: Sequence[Stage],
    products: Sequence[Product | None],
    gates: Tensor,
    state: CellState,
    vectors: Sequence[Tensor],
) -> CellState:
    """Takes a step: the product of each stage, then its pointwise rest.

    Input gates (batch, projected) and a state -> the new state, along with what stages have made for one another.
    """
    carried = dict(state)
    for stage, multiply in zip(stages, products, strict=True):
        product = None if multiply is None or stage.operand is None else multiply(carried[stage.operand])
        carried |= stage.function(gates, product, carried, *vectors)
    return carried


class Drawn(NamedTuple):
    """What a cell uses for all steps of a sequence: its recurrent matrices, in the form of `Cell.matrices`, and a mask
    (rows, its width) where it drops its state."""

    matrices: Matrices
    mask: Tensor | None = None


class Cell(nn.Module, ABC):
    """A recurrent cell, `gates` blocks of `hidden` units wide.

    Per step it sees x_t W^T + b (`project`, one product for all steps) and h_{t-1} R^T + c (one product per step, by
    the engine); `step` is the pointwise rest. A cell with several products per step defines `stages` instead.
    Parameters and gate order are those of torch's own recurrent layers, where torch has the cell.

    weight_input: (gates * hidden, features), weight_hidden: (blocks * hidden, width), with a bias for each row; a cell
    with other shapes passes them to this constructor. With `blocks` 0 there is neither weight_hidden nor its bias.
    `vectors` names the further parameters that the step takes, each as wide as what it scales.
    """

    states: ClassVar[tuple[str, ...]]  # names of the state tensors, the output first
    gates: ClassVar[int]
    blocks: ClassVar[int | None] = None  # of `hidden` rows, in the recurrent weight; None: as many as gates
    biased: ClassVar[bool] = True  # whether the recurrent products have a bias of their own
    vectors: ClassVar[tuple[str, ...]] = ()
    keeps: ClassVar[int | None] = None  # the gate that, when open, keeps the old state
    writes: ClassVar[int | None] = None  # the gate that, when open, lets the new in
    start: Start = Start()  # how the weights begin unless the user chooses
    # One time step, pointwise: `step(input_gates, recurrent_gates, state, *vectors)`, both products (batch, gates *
    # hidden), the old state -> the new state.
    step: ClassVar[StageFunction]
    weight_hidden: nn.Parameter
    bias_hidden: nn.Parameter

    def __init__(
        self,
        features: int,
        hidden: int,
        start: Start | None = None,
        *,
        sizes: dict[str, int] | None = None,
        rows: int | None = None,
        recurrent: tuple[int, int] | None = None,
    ):
        """`sizes` of the states, `rows` of the input weight and the shape of the `recurrent` one, where they differ
        from those above."""
        super().__init__()
        self.features, self.hidden = features, hidden
        self.weight_drop = 0.0
        self.learned = nn.ParameterDict()
        self.start = start or self.start
        self.sizes = sizes or dict.fromkeys(self.states, hidden)
        rows = rows or self.gates * hidden
        self.weight_input = nn.Parameter(torch.empty(rows, features))
        self.bias_input = nn.Parameter(torch.empty(rows))
        blocks = self.gates if self.blocks is None else self.blocks
        height, width = recurrent or (blocks * hidden, self.width)
        self.register_parameter("weight_hidden", nn.Parameter(torch.empty(height, width)) if height else None)
        self.register_parameter("bias_hidden", nn.Parameter(torch.empty(height)) if height and self.biased else None)
        self.initialise()

    @property
    def width(self) -> int:
        """How wide the output is."""
        return self.sizes[self.states[0]]

    @property
    def projected(self) -> int:
        """How wide the result of `project` is."""
        return len(self.weight_input)

    @property
    def initialised_together(self) -> int:
        """How many rows of the recurrent weight are initialised together: those of a gate."""
        return self.hidden

    @property
    def bridged(self) -> tuple[str, ...]:
        """The states that a decoder takes over from an encoder; the others start from `initial_state`."""
        return self.states

    def initialise(self) -> None:
        """Glorot input weights block by block, recurrent weights as `start` says, and biases of zero except for the
        gate that keeps the old state. With chrono, or if no gate keeps, the gate that writes gets the opposite bias."""
        for block in self.weight_input.data.split(self.hidden):
            nn.init.xavier_uniform_(block)
        if self.weight_hidden is not None:
            for block in self.weight_hidden.data.split(self.initialised_together):
                self.start.recurrent_(block)
        for bias in (self.bias_input, self.bias_hidden):
            if bias is not None:
                nn.init.zeros_(bias)
        gates = self.bias_input.data.split(self.hidden)
        keeping = self.start.keeping(gates[0])
        if self.keeps is not None:
            gates[self.keeps].copy_(keeping)
        if self.writes is not None and (self.keeps is None or self.start.chrono is not None):
            gates[self.writes].copy_(-keeping)

    def initial_state(self, rows: int) -> CellState:
        """All zeros except for what is learned, each (rows, its size)."""
        zeros = {name: self.weight_input.new_zeros(rows, size) for name, size in self.sizes.items()}
        return {**zeros, **{name: value.repeat(rows, 1) for name, value in self.learned.items()}}

    def learn_state(self) -> None:
        """Makes the initial state a parameter: only the `bridged` states, as others may not take arbitrary values."""
        for name in self.bridged:
            self.learned[name] = nn.Parameter(self.weight_input.new_zeros(self.sizes[name]))

    def project(self, inputs: Tensor) -> Tensor:
        """(..., features) -> (..., projected), for any number of steps at once."""
        return linear(inputs, self.weight_input, self.bias_input)

    def stages(self) -> tuple[Stage, ...]:
        """The products of a step and what follows each."""
        return (Stage(self.states[0], self.gates, self.step),)

    def matrices(self) -> Matrices:
        """Weight and bias of each stage as dense matrices (out, in), out being 0 where it has no product."""
        rows = [stage.blocks * self.hidden for stage in self.stages()]
        if self.weight_hidden is None:
            return [(self.weight_input.new_empty(0, self.width), None)] * len(rows)
        weights = self.weight_hidden.split(rows)
        biases = [None] * len(rows) if self.bias_hidden is None else self.bias_hidden.split(rows)
        return list(zip(weights, biases, strict=True))

    @property
    def active(self) -> "Cell":
        """The cell that runs: itself, or the one inside where noise applies in training only and this is evaluation."""
        return self

    def draw(self, rows: int) -> Drawn:
        """For a sequence of so many rows: in training the matrices have a share `weight_drop` dropped (Wan et al. 2013,
        Merity et al. 2017)."""
        if not (self.training and self.weight_drop):
            return Drawn(self.matrices())
        return Drawn([(F.dropout(weight, self.weight_drop), bias) for weight, bias in self.matrices()])

    def with_noise(self, inputs: Tensor, drawn: Drawn) -> Tensor:
        """The inputs (batch, time, features), with the steps' noise appended to the features as `project` needs."""
        return inputs

    def vector_values(self) -> list[Tensor]:
        """The parameters that `vectors` names."""
        return [getattr(self, name) for name in self.vectors]
