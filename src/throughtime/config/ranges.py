"""Numbers with bounds, under the names that the schema uses."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Bounds of a number; `above` excludes its bound, the other two include it."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None

    def holds(self, value: float) -> bool:
        """Whether `value` is within the bounds; a NaN never is."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and value == value
        )

    def __str__(self) -> str:
        words = {"of at least": self.at_least, "above": self.above, "at most": self.at_most}
        return " and ".join(f"{word} {bound:.10g}" for word, bound in words.items() if bound is not None)


Count = Annotated[int, Range(at_least=1)]
Beams = Annotated[int, Range(at_least=1, at_most=10_000)]
Natural = Annotated[int, Range(at_least=0)]
Positive = Annotated[float, Range(above=0)]
Seed = Annotated[int, Range(at_least=0, at_most=2**32 - 1)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Rate = Annotated[float, Range(at_least=0, at_most=0.95)]
Mass = Annotated[float, Range(above=0, at_most=1)]
Temperature = Annotated[float, Range(at_least=0.001, at_most=100)]
