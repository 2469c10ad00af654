"""Cells with noise in their step: what the regularisers of `dropout=` do inside the recurrence."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.nn.cells.base import Cell, CellState, Drawn, Matrices, Stage, StageFunction


class NoisyCell(Cell):
    """A cell around another, which it disturbs in training. Its inputs carry `width_of_noise` columns after the
    features, which every step receives after its gates, so that a step is a pure function and all engines agree."""

    width_of_noise: int

    def __init__(self, inner: Cell):
        nn.Module.__init__(self)
        self.inner = inner
        self.states, self.vectors, self.sizes = inner.states, inner.vectors, inner.sizes  # type: ignore[misc]
        self.features, self.hidden = inner.features, inner.hidden

    @property
    def weight_input(self) -> nn.Parameter:  # type: ignore[override]
        """The inner cell's."""
        return self.inner.weight_input

    @property
    def active(self) -> Cell:
        return self if self.training else self.inner

    @property
    def projected(self) -> int:
        return self.inner.projected + self.width_of_noise

    @property
    def bridged(self) -> tuple[str, ...]:
        return self.inner.bridged

    def initial_state(self, rows: int) -> CellState:
        return self.inner.initial_state(rows)

    def project(self, inputs: Tensor) -> Tensor:
        features, noise = inputs.split([self.features, self.width_of_noise], dim=-1)
        gates = self.inner.project(features)
        return torch.cat([gates, noise.to(gates.dtype)], dim=-1)

    def stages(self) -> tuple[Stage, ...]:
        return tuple(stage._replace(function=self._undisturbed(stage.function)) for stage in self.inner.stages())

    def _undisturbed(self, function: StageFunction) -> StageFunction:
        """A stage that does not see the noise."""
        return lambda gates, *rest: function(self._parts(gates)[0], *rest)

    def _parts(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Gates and noise; no gradient goes through the noise."""
        found, noise = gates.split([gates.shape[-1] - self.width_of_noise, self.width_of_noise], dim=-1)
        return found, noise.detach()

    def matrices(self) -> Matrices:
        return self._for_stages(self.inner.matrices())

    def draw(self, rows: int) -> Drawn:
        return Drawn(self._for_stages(self.inner.draw(rows).matrices))

    def _for_stages(self, matrices: Matrices) -> Matrices:
        """The inner cell's matrices, with empty ones for added stages."""
        return matrices

    def vector_values(self) -> list[Tensor]:
        return self.inner.vector_values()


class VariationalCell(NoisyCell):
    """Dropout of the state before every recurrent product, with one mask for all steps of a sequence (Gal and
    Ghahramani 2016): R (m * h_{t-1}) in place of R h_{t-1}; in a cell with several products per step, of every operand
    as wide as the output."""

    def __init__(self, inner: Cell, rate: float):
        super().__init__(inner)
        self.rate, self.width_of_noise = rate, inner.width
        others, stages = (None, *inner.states[1:]), zip(inner.stages(), inner.matrices(), strict=True)
        self._masked = [  # for each inner stage, whether its operand is dropped
            stage.operand not in others and matrix.shape[1] == inner.width for stage, (matrix, _) in stages
        ]

    def draw(self, rows: int) -> Drawn:
        ones = self.weight_input.new_ones(rows, self.width_of_noise)
        return super().draw(rows)._replace(mask=F.dropout(ones, self.rate))

    def with_noise(self, inputs: Tensor, drawn: Drawn) -> Tensor:
        assert drawn.mask is not None
        return torch.cat([inputs, drawn.mask[:, None].expand(-1, inputs.shape[1], -1).to(inputs.dtype)], dim=-1)

    def stages(self) -> tuple[Stage, ...]:
        found: list[Stage] = []
        for stage, masked in zip(super().stages(), self._masked, strict=True):
            if masked:
                found.append(Stage(None, 0, self._drop(str(stage.operand))))
                stage = stage._replace(operand=f"dropped {stage.operand}")
            found.append(stage)
        return tuple(found)

    def _drop(self, operand: str) -> StageFunction:
        return lambda gates, _, carried, *__: {f"dropped {operand}": carried[operand] * self._parts(gates)[1]}

    def _for_stages(self, matrices: Matrices) -> Matrices:
        found: Matrices = []
        for matrix, masked in zip(matrices, self._masked, strict=True):
            found += [(matrix[0][:0], None), matrix] if masked else [matrix]
        return found


class ZoneoutCell(NoisyCell):
    """Units that keep their state at random, independently at every step (Krueger et al. 2017): s_t = d * s_{t-1} +
    (1 - d) * s~_t, where s~_t is the inner cell's new state; in evaluation d is its expectation. This applies to the
    output, at the rate `output`, and to the other states that a decoder may take over, at the rate `memory`."""

    def __init__(self, inner: Cell, output: float, memory: float):
        super().__init__(inner)
        zoned = dict.fromkeys([inner.states[0], *inner.bridged])
        self.rates = {name: output if name == inner.states[0] else memory for name in zoned}
        self._widths = [inner.sizes[name] for name in zoned]
        self.width_of_noise = sum(self._widths)

    @property
    def active(self) -> Cell:
        return self

    def with_noise(self, inputs: Tensor, drawn: Drawn) -> Tensor:
        shape = inputs.shape[:2]
        kept = [
            inputs.new_full((*shape, width), rate)
            for rate, width in zip(self.rates.values(), self._widths, strict=True)
        ]
        return torch.cat([inputs, *(part.bernoulli() if self.training else part for part in kept)], dim=-1)

    def stages(self) -> tuple[Stage, ...]:
        *before, last = self.inner.stages()
        found = [Stage(None, 0, self._keep), *super().stages()[:-1]] if before else []
        return (*found, last._replace(function=self._zoned(last.function)))

    def _keep(self, gates: Tensor, _: None, carried: CellState, *__: Tensor) -> CellState:
        """d * s_{t-1}, before a stage of the inner cell replaces the state."""
        noise = self._parts(gates)[1].split(self._widths, dim=-1)
        return {f"kept {name}": kept * carried[name] for name, kept in zip(self.rates, noise, strict=True)}

    def _zoned(self, function: StageFunction) -> StageFunction:
        def zoned(gates: Tensor, product: Tensor | None, carried: CellState, *vectors: Tensor) -> CellState:
            plain, noise = self._parts(gates)
            kept = self._keep(gates, None, carried) | carried
            fresh = {**carried, **function(plain, product, carried, *vectors)}
            for name, d in zip(self.rates, noise.split(self._widths, dim=-1), strict=True):
                fresh[name] = kept[f"kept {name}"] + (1 - d) * fresh[name]
            return fresh

        return zoned

    def _for_stages(self, matrices: Matrices) -> Matrices:
        return matrices if len(matrices) == 1 else [(matrices[0][0][:0], None), *matrices]


class CandidateDropCell(NoisyCell):
    """Dropout of the candidate alone, for each unit and step independently, so that nothing remembered is lost
    (Semeniuta et al. 2016): LSTM c_t = f * c_{t-1} + i * m * g, GRU h_t = z * h_{t-1} + (1 - z) * m * n."""

    def __init__(self, inner: Cell, rate: float):
        super().__init__(inner)
        self.rate, self.width_of_noise = rate, inner.hidden

    def with_noise(self, inputs: Tensor, drawn: Drawn) -> Tensor:
        return torch.cat([inputs, F.dropout(inputs.new_ones(*inputs.shape[:2], self.hidden), self.rate)], dim=-1)

    def stages(self) -> tuple[Stage, ...]:
        (stage,) = self.inner.stages()
        return (stage._replace(function=self._dropped),)

    def _dropped(self, gates: Tensor, product: Tensor, state: CellState) -> CellState:
        gates, kept = self._parts(gates)
        step: Any = self.inner.step
        fresh: CellState = step(gates, product, state, kept)
        return fresh
