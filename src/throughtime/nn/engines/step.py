"""One step of a cell as kernels: its stages one after the other, and which version of a tensor each takes."""

from collections import defaultdict
from functools import cached_property

from throughtime.nn.cells.base import Cell
from throughtime.nn.engines.compiling import Kernel, Kind
from throughtime.nn.engines.routes import Routes, routed
from throughtime.nn.engines.stage import Setting, StageKernels
from throughtime.nn.engines.versions import BIAS, OUTPUT, PRODUCT, Part, Role, Version, carried


class StepKernels:
    """The stages of a cell's step in order, by number from 1.

    takes, writes, operands: by stage, the versions of what it takes and writes, and of what its product multiplies.
    forward, backward: by stage, its compiled kernels; backward ones where the setting is learning.

    Raises:
        RuntimeError: what the step does can't be compiled.
    """

    def __init__(self, cell: Cell, setting: Setting):
        self.states, self.setting = cell.states, setting
        known: dict[str, Kind] = {name: (True, size, setting.state) for name, size in cell.sizes.items()}
        self.stages: dict[int, StageKernels] = {}
        for place in range(len(cell.stages())):
            stage = self.stages[place + 1] = StageKernels(cell, place, setting, dict(known))
            known |= {part.name: stage.writes[part] for part in stage.differentiated if part != OUTPUT}
        self.output = OUTPUT if setting.masked else carried(cell.states[0])
        self.takes: dict[int, list[Version]] = {}
        self.writes: dict[int, list[Version]] = {}
        self.operands: dict[int, Version] = {}
        self._number_versions()
        stages, learning = self.stages.items(), setting.learning
        self.forward = {place: stage.forward if learning else stage.alone for place, stage in stages}
        self.backward: dict[int, Kernel] = {}
        if learning:
            self.backward = {place: stage.backward(self.routes.sources[place]) for place, stage in stages}

    @cached_property
    def routes(self) -> Routes:
        """Where gradients go."""
        return routed(self.stages, self.states, self.output, self.setting.state)

    def _number_versions(self) -> None:
        latest: defaultdict[Part, int] = defaultdict(int)
        role = Role.LOW if self.setting.product != self.setting.state else Role.CARRIED
        for place, stage in self.stages.items():
            self.takes[place] = [self._version(part, place, latest) for part in stage.takes]
            if stage.operand is not None:
                self.operands[place] = self._version(Part(role, stage.operand), place, latest)
            latest |= dict.fromkeys(stage.writes, place)
            self.writes[place] = [Version(part, place) for part in stage.writes]

    @staticmethod
    def _version(part: Part, place: int, latest: dict[Part, int]) -> Version:
        if part in (PRODUCT, BIAS):
            return Version(part, place)
        return Version(carried(part.name)) if part.role is Role.OLD else Version(part, latest[part])
