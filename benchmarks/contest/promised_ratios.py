"""Promised ratios: what this project promises of a whole scene, as ratios of times measured in turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..contestants.by_name import ENGINE_ALONE, MONAI, ORT_LOOP, OURS
from ..measuring.percentiles import Interval

# A small network leaves less time to hide the rest in.
OVER_ENGINE: Final = {"tf_efficientnet_lite0+fpn": 1.15, "nano": 1.15, "base": 1.08}
OVER_MONAI: Final = 5.0


@dataclass(frozen=True)
class Bar:
    """A limit of a ratio of times.

    Attributes:
        of: the contestant above the line.
        to: the contestant below it.
        limit: of the ratio.
        at_most: the ratio must not be above the limit; False: it must be above it.
        sentence: what it says.
    """

    of: str
    to: str
    limit: float
    at_most: bool
    sentence: str

    def holds(self, ratio: Interval) -> bool:
        """Whether the ratio keeps to the limit."""
        return ratio.value <= self.limit if self.at_most else ratio.value >= self.limit

    def holds_within(self, ratio: Interval) -> bool | None:
        """Whether the whole interval keeps to the limit; None where the rounds are too few for an interval."""
        bound = ratio.high if self.at_most else ratio.low
        return None if bound is None else self.holds(Interval(bound))


def bars_of(variant: str) -> Iterator[Bar]:
    """Yield the bars of a student; one without a limit of its own has no bar over the engine alone."""
    limit = OVER_ENGINE.get(variant)
    if limit is not None:
        yield Bar(OURS, ENGINE_ALONE, limit, True, f"end to end at most {limit:g} times the engine alone")
    yield Bar(MONAI, OURS, OVER_MONAI, False, f"at least {OVER_MONAI:g} times as fast as the published way under MONAI")
    yield Bar(ORT_LOOP, OURS, 1.0, False, "faster than a straightforward loop around the same ONNX")
