"""Contenders that take turns, A B A B, so that a machine that drifts slows all of them alike; and their ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.runtime.engines.in_turns import times_in_turns

from .percentiles import CONFIDENCE, RESAMPLES, Interval, Percentiles, drawn_indices, percentiles_of

WARM_UP_ROUNDS: Final = 5


@dataclass(frozen=True)
class Rounds:
    """What each contender took in each round.

    Attributes:
        names: of the contenders, in the order of their turns.
        times_ms: (rounds, contenders).
    """

    names: tuple[str, ...]
    times_ms: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.times_ms.ndim != 2 or self.times_ms.shape[1] != len(self.names) or not len(self.times_ms):
            raise ValueError(f"{len(self.names)} contenders and times of shape {self.times_ms.shape}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"contenders of the same name: {', '.join(self.names)}")

    def of(self, name: str) -> NDArray[np.float64]:
        """Return the times of one contender, ms, round by round."""
        return self.times_ms[:, self.names.index(name)]

    def percentiles(self, name: str, *, seed: int = 0) -> Percentiles:
        """Return the percentiles of one contender's times, ms."""
        return percentiles_of(self.of(name), seed=seed)

    def ratio(self, name: str, base: str, *, confidence: float = CONFIDENCE, seed: int = 0) -> Interval:
        """Return the median time of one contender over that of another; below 1 the first is the faster.

        Whole rounds are drawn again, so that what slowed both in a round stays with both.
        """
        upper, lower = self.of(name), self.of(base)
        drawn = [
            np.median(upper[index], axis=1) / np.median(lower[index], axis=1)
            for index in drawn_indices(len(upper), resamples=RESAMPLES, seed=seed)
        ]
        value = float(np.median(upper) / np.median(lower))
        tail = (1 - confidence) / 2
        if 0.5 ** len(upper) > tail:  # fewer than 6 rounds bound no median
            return Interval(value)
        low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
        return Interval(value, float(low), float(high))


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = WARM_UP_ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] | None = None,
) -> Rounds:
    """Call every contender once a round, see `times_in_turns`, and return what each call took, by name."""
    calls = list(contenders.values())
    times_ms = times_in_turns(calls, rounds=rounds, warm_up=warm_up, clock=clock, progress=progress)
    return Rounds(tuple(contenders), times_ms)
