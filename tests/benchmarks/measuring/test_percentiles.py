"""Percentiles are those of a sorted list, and their intervals hold the truth about as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_time import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from kda_edge.benchmarks.measuring.interleaved import Rounds, interleaved
from kda_edge.benchmarks.measuring.percentiles import Interval, drawn_indices, percentiles_of

RUNS = 200
LEVELS = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


def by_hand(times: list[float], level: float) -> float:
    """A percentile by its definition: between the two neighbours in the sorted list, by a straight line."""
    ordered = sorted(times)
    place = level * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60))
def test_percentiles_are_those_of_the_sorted_list(times: list[float]) -> None:
    found = percentiles_of(times, resamples=20)
    for name, level in LEVELS.items():
        assert getattr(found, name).value == pytest.approx(by_hand(times, level))
    assert (found.count, found.minimum, found.maximum) == (len(times), min(times), max(times))
    assert found.mean.value == pytest.approx(math.fsum(times) / len(times))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 1e4), min_size=6, max_size=60), st.integers(0, 5))
def test_an_interval_lies_in_the_series_and_comes_again_with_its_seed(times: list[float], seed: int) -> None:
    found = percentiles_of(times, resamples=50, seed=seed)
    assert found == percentiles_of(times, resamples=50, seed=seed)
    for name in LEVELS:
        interval = getattr(found, name)
        for bound in (interval.low, interval.high):
            assert bound is None or min(times) <= bound <= max(times)
    assert found.p50.low is not None
    assert found.p50.high is not None
    assert found.p50.low <= found.p50.high


def independent(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Times with a long tail, as latencies have; and their true percentiles."""
    truth = {name: 10 + math.exp(0.5 * z) for name, z in (("p50", 0.0), ("p90", 1.2815516), ("p95", 1.6448536))}
    return 10 + np.exp(0.5 * rng.standard_normal(400)), truth


def neighbours_alike(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Times of which each resembles the last: an autoregression of order 1, its median 20."""
    noise = rng.standard_normal(400)
    series = np.empty(400)
    series[0] = noise[0]
    for i in range(1, 400):
        series[i] = 0.5 * series[i - 1] + math.sqrt(0.75) * noise[i]
    return 20 + series, {"p50": 20.0}


@pytest.mark.parametrize(("draw", "least"), [(independent, 0.87), (neighbours_alike, 0.84)])
def test_an_interval_of_95_percent_holds_the_truth_about_that_often(draw, least: float) -> None:
    rng = np.random.default_rng(7)
    hits: dict[str, int] = {}
    for _ in range(RUNS):
        times, truth = draw(rng)
        found = percentiles_of(times, resamples=200)
        for name, value in truth.items():
            interval = getattr(found, name)
            hits[name] = hits.get(name, 0) + (interval.low <= value <= interval.high)
    for name, count in hits.items():
        assert least <= count / RUNS <= 0.99, name


def test_values_drawn_one_by_one_would_claim_too_much_where_neighbours_are_alike() -> None:
    """Why blocks are drawn: the interval of such a series is wider than that of the same values in random order."""
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(20):
        times, _ = neighbours_alike(rng)
        as_it_is, mixed = percentiles_of(times).p50, percentiles_of(rng.permutation(times)).p50
        ratios.append((as_it_is.high - as_it_is.low) / (mixed.high - mixed.low))  # type: ignore[operator]
    assert np.mean(ratios) > 1.2


@pytest.mark.parametrize(("count", "bounded"), [(5, []), (6, ["p50"]), (72, [*LEVELS][:3]), (368, [*LEVELS])])
def test_a_percentile_has_an_upper_bound_only_once_the_worst_was_likely_seen(count: int, bounded: list[str]) -> None:
    found = percentiles_of(np.linspace(1, 2, count))
    assert [name for name in LEVELS if getattr(found, name).high is not None] == bounded


@pytest.mark.parametrize("times", [[], [1.0, math.nan], [math.inf], [[1.0]]])
def test_what_is_no_series_is_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="one or more finite times"):
        percentiles_of(times)


def test_the_bootstrap_draws_whole_blocks_and_every_place_alike() -> None:
    count = 64  # blocks of 4
    drawn = np.concatenate(list(drawn_indices(count, resamples=2000)))
    assert drawn.shape == (2000, count)
    blocks = drawn.reshape(2000, -1, 4)
    assert ((np.diff(blocks, axis=2) % count) == 1).all()
    seen = np.bincount(drawn.ravel(), minlength=count)
    assert seen.min() > 0.85 * 2000
    assert seen.max() < 1.15 * 2000


def test_the_inverse_of_an_interval_swaps_its_bounds() -> None:
    assert Interval(4.0, 2.0, 8.0).inverse(8.0) == Interval(2.0, 1.0, 4.0)
    assert Interval(4.0, 2.0, None).inverse(8.0) == Interval(2.0, None, 4.0)
    assert Interval(4.0, 2.0, 8.0).scaled(2.0) == Interval(8.0, 4.0, 16.0)


def test_a_machine_that_drifts_does_not_change_the_ratio_of_contenders_that_take_turns() -> None:
    """The machine becomes three times slower on the way; one contender takes 1.5 times the other's time all along."""
    clock, calls = FakeClock(), []
    rng = np.random.default_rng(1)

    def contender(name: str, base_ms: float):
        def call() -> None:
            slowness = 1 + len(calls) / 200
            clock.pass_ms(base_ms * slowness * rng.uniform(0.98, 1.02))
            calls.append(name)

        return call

    rounds = interleaved({"a": contender("a", 15.0), "b": contender("b", 10.0)}, rounds=200, warm_up=2, clock=clock)
    assert calls[:6] == ["a", "b", "a", "b", "a", "b"]
    assert len(calls) == 404
    ratio = rounds.ratio("a", "b")
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low <= 1.5 <= ratio.high
    assert ratio.high - ratio.low < 0.05
    turned = rounds.ratio("b", "a")
    assert turned.value == pytest.approx(1 / ratio.value)
    assert rounds.percentiles("b").p50.value == pytest.approx(np.median(rounds.of("b")))


def test_the_interval_of_a_ratio_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(RUNS):
        shared = 1 + 0.2 * rng.standard_normal((100, 1))  # what slows a round slows both
        times = np.abs(np.array([[12.0, 10.0]]) * shared * (1 + 0.02 * rng.standard_normal((100, 2))))
        ratio = Rounds(("a", "b"), times).ratio("a", "b")
        hits += ratio.low <= 1.2 <= ratio.high  # type: ignore[operator]
    assert 0.90 <= hits / RUNS <= 1.0


def test_few_rounds_give_a_ratio_without_bounds() -> None:
    assert Rounds(("a", "b"), np.array([[2.0, 1.0]] * 5)).ratio("a", "b") == Interval(2.0)
