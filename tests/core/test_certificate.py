"""A certificate holds only where every figure is within what was allowed; each way to fail is seen failing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from kda_edge.certificate import Budget, Certificate, Labelled, Latency, TileParity
from kda_edge.errors import ManifestError

TILES = (TileParity("a", "ab" * 32, 2e-3, 1e-4, 0.9995), TileParity("b", "cd" * 32, 1e-3, 2e-4, 0.9985))
LATENCY = Latency("an engine", "a processor", 30, 8.0, "fp32", 10.0)


def certificate(budget: Budget, **more: object) -> Certificate:
    return replace(Certificate("12" * 32, budget, TILES), **more)  # type: ignore[arg-type]


def labelled(lost_points: float) -> Labelled:
    return Labelled(("a.png",), ("ab" * 32,), 0.5 - lost_points / 100, 0.5)


def test_figures_are_the_worst_and_the_means_of_the_tiles() -> None:
    found = certificate(Budget(max_abs=0.01))
    assert found.max_abs == 2e-3
    assert found.mean_abs == pytest.approx(1.5e-4)
    assert found.class_changes == pytest.approx(0.001)


@pytest.mark.parametrize(("max_abs", "holds"), [(2e-3, True), (1.9e-3, False), (0.0, False)])
def test_the_largest_difference_is_held_to_its_budget(max_abs: float, holds: bool) -> None:
    found = certificate(Budget(max_abs=max_abs))
    assert found.holds is holds
    assert (found.used <= 1) is holds


@pytest.mark.parametrize(("lost", "holds"), [(0.09, True), (0.11, False), (-3.0, True)])
def test_lost_iou_is_held_to_its_budget_and_a_gain_is_no_failure(lost: float, holds: bool) -> None:
    found = certificate(Budget(iou_points=0.1), labelled=labelled(lost))
    assert found.holds is holds
    assert (found.used <= 1) is holds
    assert holds or "landslide IoU" in found.failures[0]


@pytest.mark.parametrize(("points", "holds"), [(0.11, True), (0.09, False)])
def test_without_labels_the_pixels_that_change_class_are_held_to_the_same_number(points: float, holds: bool) -> None:
    found = certificate(Budget(iou_points=points))  # 0.1 % of pixels change
    assert found.holds is holds
    assert (found.used <= 1) is holds
    assert holds or "change class" in found.failures[0]


def test_labels_come_before_changed_pixels() -> None:
    assert certificate(Budget(iou_points=0.01), labelled=labelled(0.0)).holds


def test_both_limits_count_where_both_are_set() -> None:
    good = certificate(Budget(max_abs=0.01, iou_points=0.5), labelled=labelled(0.25))
    assert good.holds
    assert good.used == pytest.approx(0.5)
    assert not replace(good, budget=Budget(max_abs=1e-3, iou_points=0.5)).holds
    assert not replace(good, budget=Budget(max_abs=0.01, iou_points=0.2)).holds


def test_nothing_compared_is_no_evidence() -> None:
    empty = certificate(Budget(max_abs=1.0, iou_points=100.0), tiles=(), labelled=labelled(0.0))
    assert empty.failures == ("nothing was compared",)
    assert math.isinf(empty.used)


@pytest.mark.parametrize(("p50_ms", "holds"), [(8.4, True), (8.6, False), (12.0, False)])
def test_int8_must_save_its_share_of_the_latency(p50_ms: float, holds: bool) -> None:
    budget = Budget(max_abs=0.01, faster_by=0.15)
    found = certificate(budget, latency=replace(LATENCY, p50_ms=p50_ms))
    assert found.holds is holds
    assert replace(found, forced=True).holds
    assert certificate(budget).holds  # not measured: the first run on the device does it


def test_force_excuses_latency_and_nothing_else() -> None:
    assert not certificate(Budget(max_abs=1e-4), forced=True, latency=LATENCY).holds


PARITY = TILES[0]
LABELLED = Labelled(("a.png",), ("ab" * 32,), 0.5, 0.5)
BUDGET = Budget(max_abs=0.01)


@pytest.mark.parametrize(
    ("whole", "name", "most"),
    [
        *((PARITY, name, 1) for name in ("max_abs", "mean_abs", "agreement")),
        *((LABELLED, name, 1) for name in ("iou", "reference_iou")),
        *((BUDGET, name, most) for name, most in (("max_abs", 1), ("iou_points", 100), ("faster_by", 1))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shares_lie_between_nothing_and_all_of_it(whole: TileParity | Labelled | Budget, name: str, most: int) -> None:
    for value in (0.0, float(most)):
        assert getattr(replace(whole, **{name: value}), name) == value
    for value in (-1e-9, most + 1e-9, math.nan):
        with pytest.raises(ManifestError, match=rf"{name} must lie in 0\.\.{most}$"):
            replace(whole, **{name: value})


@pytest.mark.parametrize("digest", ["", "ab" * 31, "ab" * 33, "AB" * 32, "zz" * 32])
def test_a_digest_has_64_hexadecimal_digits(digest: str) -> None:
    with pytest.raises(ManifestError, match="must be 64 hexadecimal digits"):
        replace(certificate(BUDGET), graph_sha256=digest)


def test_a_labelled_image_has_a_digest_and_there_is_one() -> None:
    for images, digests in (((), ()), (("a",), ()), (("a",), ("ab" * 32,) * 2)):
        with pytest.raises(ManifestError, match="must have a digest for each image"):
            replace(LABELLED, images=images, sha256=digests)
    assert replace(LABELLED, images=("a", "b"), sha256=("ab" * 32,) * 2).lost_points == 0


def test_times_and_rounds_of_a_latency_are_above_nothing() -> None:
    for change in ({"p50_ms": 0.0}, {"other_p50_ms": -1.0}, {"rounds": 0}):
        with pytest.raises(ManifestError, match="must be above 0"):
            replace(LATENCY, **change)  # type: ignore[arg-type]
    assert replace(LATENCY, rounds=1, p50_ms=1e-3).faster_by == pytest.approx(0.9999)
