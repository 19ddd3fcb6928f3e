"""Flips, differences and IoU of two maps are those that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kda_edge.benchmarks.seams.map_differences import DistanceCurve, differences_of

ONE = np.asarray([[0.1, 0.6, 0.9, 0.5]], np.float32)
OTHER = np.asarray([[0.2, 0.4, 0.8, 0.1]], np.float32)


def test_the_threshold_itself_is_landslide_and_pixels_that_do_not_count_tell_nothing() -> None:
    everything = differences_of(ONE, OTHER, np.ones((1, 4), np.bool_), 0.5)
    assert (everything.pixels, everything.flips) == (4, 0.5)
    assert everything.mean_abs == pytest.approx(0.2)
    assert everything.max_abs == pytest.approx(0.4)
    assert everything.iou == pytest.approx(1 / 3)
    some = differences_of(ONE, OTHER, np.asarray([[True, True, True, False]]), 0.5)
    assert (some.pixels, some.flips, some.iou) == (3, pytest.approx(1 / 3), 0.5)


def test_maps_without_landslides_agree() -> None:
    nothing = np.zeros((2, 2), np.float32)
    assert differences_of(nothing, nothing, np.ones((2, 2), np.bool_), 0.5).iou == 1.0


def test_a_curve_gathers_by_whole_pixels_and_over_additions() -> None:
    curve = DistanceCurve(0.5)
    counted = np.asarray([[True, True, True, False]])
    curve.add(ONE, OTHER, np.asarray([[0.5, 0.5, np.inf, 9.5]], np.float32), counted)
    curve.add(ONE, OTHER, np.asarray([[2.5, 2.5, 2.5, 9.5]], np.float32), counted)
    assert list(curve) == [
        (0, 2, 0.5, pytest.approx(0.15)),
        (2, 3, pytest.approx(1 / 3), pytest.approx(0.4 / 3)),
    ]
    assert curve.within(0, 2) == (0.5, pytest.approx(0.15))
    assert curve.within(1) == (pytest.approx(1 / 3), pytest.approx(0.4 / 3))
    assert curve.within(3) is None
