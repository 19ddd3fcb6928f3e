"""Calls timed until they are steady: warm-up first, then until the windows of all that was measured agree.

A limit ends a machine that never comes to rest. What it measured is kept and called unsteady; nothing is thrown away
because it was slow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .stability import Stability, StabilityRule

Clock: TypeAlias = Callable[[], float]  # seconds, from any start
Call: TypeAlias = Callable[[], Mapping[str, float] | None]  # one unit of work; may say what its phases took, ms
OVERHEAD_READINGS: Final = 10_000
FEWEST_IN_WINDOW: Final = 3


@dataclass(frozen=True)
class TimingPlan:
    """How long to measure.

    Attributes:
        rule: when the series is steady.
        min_calls: fewest calls that count; 368 bound the 99th percentile from above.
        window_s: a window of warm-up need not be longer than this, for slow calls.
        warm_up_limit_s: longest warm-up.
        limit_s: longest measurement after it; at least `rule.windows` calls are made all the same.
    """

    rule: StabilityRule = field(default_factory=StabilityRule)
    min_calls: int = 400
    window_s: float = 2.0
    warm_up_limit_s: float = 20.0
    limit_s: float = 60.0

    def __post_init__(self) -> None:
        if self.min_calls < self.rule.windows or min(self.window_s, self.warm_up_limit_s, self.limit_s) <= 0:
            raise ValueError(f"not a plan: {self!r}")

    def for_calls_of(self, call_s: float) -> TimingPlan:
        """Return the plan with windows of fewer calls where a call takes long."""
        most = int(self.window_s / call_s) if call_s > 0 else self.rule.window_calls
        calls = min(self.rule.window_calls, max(FEWEST_IN_WINDOW, most))
        return replace(self, rule=replace(self.rule, window_calls=calls))


@dataclass(frozen=True)
class Timing:
    """What the calls took, in order.

    Attributes:
        first_ms: of the very first call, which pays for what is done once.
        warm_up_ms: of the calls after it that do not count.
        samples_ms: of those that count.
        phases_ms: of each phase that the calls told of, `{name: (calls that count,)}`.
        warm_up: whether the warm-up came to rest.
        stability: of all that counts.
    """

    first_ms: float
    warm_up_ms: NDArray[np.float64]
    samples_ms: NDArray[np.float64]
    phases_ms: Mapping[str, NDArray[np.float64]]
    warm_up: Stability
    stability: Stability

    @property
    def is_steady(self) -> bool:
        """Whether both the warm-up and the measurement came to rest."""
        return self.warm_up.is_steady and self.stability.is_steady


def measured(call: Call, plan: TimingPlan | None = None, *, clock: Clock = time.perf_counter) -> Timing:
    """Call until steady and return what each call took.

    Args:
        call: does one unit of work and waits until it is done.
        plan: None: the default.
        clock: in seconds.
    """
    plan = TimingPlan() if plan is None else plan
    first_ms, _ = _once(call, clock)
    plan = plan.for_calls_of(first_ms / 1e3)
    rule = plan.rule

    warm_up_ms: list[float] = []
    start = clock()
    while not (warm := rule.judge_end(warm_up_ms)).is_steady and clock() - start < plan.warm_up_limit_s:
        warm_up_ms.append(_once(call, clock)[0])

    samples_ms: list[float] = []
    phases: list[Mapping[str, float]] = []
    start, look_at = clock(), plan.min_calls
    while True:
        elapsed_ms, parts = _once(call, clock)
        samples_ms.append(elapsed_ms)
        phases.append(parts)
        if clock() - start >= plan.limit_s and len(samples_ms) >= rule.windows:
            break
        if len(samples_ms) == look_at:
            if rule.judge(samples_ms).is_steady:
                break
            # Looked at again and again, noise alone would pass some day: each look comes after a fifth more calls.
            look_at += max(rule.windows, look_at // 5)
    return Timing(
        first_ms,
        np.asarray(warm_up_ms),
        np.asarray(samples_ms),
        {name: np.asarray([part[name] for part in phases]) for name in phases[0]},
        warm,
        rule.judge(samples_ms),
    )


def timer_overhead_us(clock: Clock = time.perf_counter, readings: int = OVERHEAD_READINGS) -> float:
    """Return what reading the clock twice adds to a measured time, microseconds: the median of `readings` pairs."""
    pairs_s = [-clock() + clock() for _ in range(readings)]
    return float(np.median(pairs_s)) * 1e6


def _once(call: Call, clock: Clock) -> tuple[float, Mapping[str, float]]:
    start = clock()
    phases = call()
    return (clock() - start) * 1e3, phases or {}
