"""Stability of a series of times: it is steady enough to stop when its windows agree on the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

WINDOWS: Final = 3
TOLERANCE: Final = 0.03  # medians of 20 calls on an idle desktop agree within 1 to 2 %; drift of clocks is 5 % and more


@dataclass(frozen=True)
class Stability:
    """How far windows of one series agree.

    Attributes:
        medians: of each window, in order; empty where the series was too short to judge.
        spread: largest less smallest median, as a share of the middle one: the noise of the series.
        tolerance: the spread that still counts as steady.
    """

    medians: tuple[float, ...]
    spread: float
    tolerance: float

    @property
    def is_steady(self) -> bool:
        """Whether there was enough to judge and the windows agree."""
        return len(self.medians) >= WINDOWS and self.spread <= self.tolerance


@dataclass(frozen=True)
class StabilityRule:
    """Windows of equal length must have medians within a few per cent.

    Attributes:
        windows: that count, 3 or more.
        tolerance: largest spread of their medians, above 0, a share.
        window_calls: fewest times in a window.
    """

    windows: int = WINDOWS
    tolerance: float = TOLERANCE
    window_calls: int = 20

    def __post_init__(self) -> None:
        if self.windows < WINDOWS or self.tolerance <= 0 or self.window_calls < 1:
            raise ValueError(f"not a rule: {self!r}")

    def judge(self, times: ArrayLike) -> Stability:
        """Cut a series into windows of equal length, what is left over at its beginning left out, and compare them."""
        series = np.asarray(times, np.float64)
        length = len(series) // self.windows
        if length < self.window_calls:
            return Stability((), 0.0, self.tolerance)
        medians = np.median(series[-length * self.windows :].reshape(self.windows, length), axis=1)
        spread = float((medians.max() - medians.min()) / np.median(medians))
        return Stability(tuple(medians.tolist()), spread, self.tolerance)

    def judge_end(self, times: ArrayLike) -> Stability:
        """Judge the last windows of the shortest length alone, as warming up does."""
        series = np.asarray(times, np.float64)
        return self.judge(series[-self.windows * self.window_calls :])
