"""Percentiles of a series of times, each with an interval by the bootstrap.

A mean hides what a field engineer waits for. Neighbouring calls resemble one another, so that whole blocks of the
series are drawn again, not single values: drawn one by one, they would make the intervals too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 1000  # an interval's ends then move by about a tenth of its width from seed to seed
QUANTILES: Final = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
CHUNK_VALUES: Final = 1 << 21  # values drawn at a time: 16 MB

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure and between which bounds it lies, at `CONFIDENCE` unless told otherwise.

    Attributes:
        value: the figure, of the series as it is.
        low: lower bound; None where the series is too short to have one.
        high: upper bound; None where the series is too short to have one.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) for number in (self.value, self.low, self.high) if number is not None):
            raise ValueError(f"not an interval: {self!r}")

    def scaled(self, factor: float) -> Interval:
        """Return the same in another unit; the factor is above 0."""
        return Interval(
            self.value * factor,
            None if self.low is None else self.low * factor,
            None if self.high is None else self.high * factor,
        )

    def inverse(self, numerator: float = 1.0) -> Interval:
        """Return `numerator` divided by this, as throughput is of latency; the bounds change places."""
        return Interval(
            numerator / self.value,
            numerator / self.high if self.high else None,
            numerator / self.low if self.low else None,
        )


@dataclass(frozen=True)
class Percentiles:
    """What a series of times says, in its own unit.

    Attributes:
        count: how many times there are.
        mean: of all; the sum is what throughput comes from.
        p50: half of the times lie below.
        p90: nine of ten.
        p95: 95 of 100.
        p99: 99 of 100; without an upper bound below 368 times, since the worst may not have been seen.
        minimum: the shortest.
        maximum: the longest.
    """

    count: int
    mean: Interval
    p50: Interval
    p90: Interval
    p95: Interval
    p99: Interval
    minimum: float
    maximum: float


def percentiles_of(
    times: ArrayLike, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Percentiles:
    """Return the percentiles of a series in the order in which it was measured.

    Args:
        times: one or more, finite.
        confidence: how often the interval should hold the truth, 0..1.
        resamples: series drawn by the bootstrap.
        seed: the same seed gives the same intervals.

    Raises:
        ValueError: no times, or one that is not finite.
    """
    series = _checked(times)
    levels = list(QUANTILES.values())
    drawn = []
    for index in drawn_indices(len(series), resamples=resamples, seed=seed):
        values = series[index]
        drawn.append(np.concatenate([values.mean(axis=1)[None], np.quantile(values, levels, axis=1)]))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn, axis=1), [tail, 1 - tail], axis=1)
    found = np.quantile(series, levels)
    at = {
        name: Interval(
            float(found[i]),
            float(low[i + 1]) if _is_bounded(1 - level, len(series), tail) else None,
            float(high[i + 1]) if _is_bounded(level, len(series), tail) else None,
        )
        for i, (name, level) in enumerate(QUANTILES.items())
    }
    known = len(series) > 1
    mean = Interval(float(series.mean()), float(low[0]) if known else None, float(high[0]) if known else None)
    return Percentiles(len(series), mean, **at, minimum=float(series.min()), maximum=float(series.max()))


def drawn_indices(count: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[NDArray[np.intp]]:
    """Yield the bootstrap's draws as positions in a series, (k, count) each, `resamples` rows in all.

    Blocks of neighbours, the cube root of the count long, are drawn with replacement; the series' end is followed by
    its beginning.

    Source: Politis and Romano 1992, the circular block bootstrap.
    """
    rng = np.random.default_rng(seed)
    block = max(1, round(count ** (1 / 3)))
    blocks = -(-count // block)
    rows = max(1, CHUNK_VALUES // count)
    for first in range(0, resamples, rows):
        starts = rng.integers(0, count, (min(rows, resamples - first), blocks, 1))
        yield ((starts + np.arange(block)) % count).reshape(len(starts), -1)[:, :count]


def _checked(times: ArrayLike) -> Series:
    series = np.asarray(times, np.float64)
    if series.ndim != 1 or not len(series) or not np.isfinite(series).all():
        raise ValueError("percentiles need a series of one or more finite times")
    return series


def _is_bounded(level: float, count: int, tail: float) -> bool:
    """Whether the largest of `count` values lies above the quantile often enough to bound it from above."""
    return level**count <= tail
