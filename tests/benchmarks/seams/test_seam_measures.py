"""Seams are found where an engine makes them, by the amount that can be computed by hand, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from fake_tile_engines import RimEngine, first_band

from kda_edge.benchmarks.seams.blend_weights import KINDS
from kda_edge.benchmarks.seams.seam_measures import SeamMeasures, measured_seams
from kda_edge.errors import UsageError
from kda_edge.tiling.pixels import ArraySource
from kda_edge.tiling.tile_answers import Engine

TILE_PX, SIDE_PX = 32, 160
INTERIOR_PX = SIDE_PX - TILE_PX  # along a side
# Without overlap and with a rim of 2 px, in rows as in columns: four lines between tiles in the interior, at 32 to 128,
# of 4 px each. Moved by 16 px there are three, at 48, 80 and 112: at the ends, where the first and the last tile stay,
# `middle` takes each pixel from the tile in which it lies at least 8 px deep.
FREE, FREE_MOVED, FREE_OF_BOTH = ((INTERIOR_PX - lines * 4) / INTERIOR_PX for lines in (4, 3, 7))


def measured(engine: Engine, *overlaps_px: int, kinds: tuple[str, ...] = ("middle",)) -> SeamMeasures:
    pixels = np.random.default_rng(5).uniform(0, 0.45, (SIDE_PX, SIDE_PX, 3)).astype(np.float32)
    pixels[40:90, 50:120] += 0.55  # clear of the threshold on both sides
    return measured_seams(
        ArraySource(pixels),
        (SIDE_PX, SIDE_PX),
        engine,
        tile_px=TILE_PX,
        threshold=0.5,
        overlaps_px=overlaps_px,
        kinds=kinds,
        batch=4,
        drawn=(overlaps_px[0], kinds[0]),
    )


def test_an_engine_to_which_a_tiles_place_means_nothing_has_no_seams() -> None:
    found = measured(first_band, 0, 8, 16, kinds=KINDS)
    assert len(found.settings) == 3 * len(KINDS)
    assert (found.reference_moved.flips, found.reference_moved.iou) == (0.0, 1.0)
    for one in found.settings:
        for against in (one.reference, one.moved):
            assert (against.pixels, against.flips, against.iou) == (INTERIOR_PX**2, 0.0, 1.0)
            assert against.max_abs < 1e-6
        assert all(flips == 0 and apart < 1e-6 for _, _, flips, apart in one.from_border)
    assert all(flips == 0 and apart < 1e-6 for _, _, flips, apart in found.within_tile)
    assert found.differs is not None
    assert np.nanmax(found.differs) < 1e-6


def test_flips_against_the_reference_are_the_rims_of_the_tiles() -> None:
    """In the reference gaussian weights leave of a rim less than a hundredth."""
    found = measured(RimEngine(2), 0)
    (one,) = found.settings
    assert one.reference.flips == pytest.approx(1 - FREE**2, abs=1e-9)
    assert one.reference.mean_abs == pytest.approx(0.8 * (1 - FREE**2), rel=0.02)
    assert one.reference.max_abs == pytest.approx(0.8, abs=0.01)
    assert one.reference.iou == 0.0
    assert found.differs is not None
    assert np.count_nonzero(found.differs > 0.5) == round((1 - FREE**2) * INTERIOR_PX**2)
    assert np.isnan(found.differs[:16]).all()


def test_flips_when_the_grid_moves_are_the_rims_of_either_grid_and_not_of_both() -> None:
    (one,) = measured(RimEngine(2), 0).settings
    in_both = (1 - FREE**2) + (1 - FREE_MOVED**2) - (1 - FREE_OF_BOTH**2)
    flips = (1 - FREE_OF_BOTH**2) - in_both
    assert one.moved.flips == pytest.approx(flips, abs=1e-9)
    assert one.moved.mean_abs == pytest.approx(0.8 * flips, abs=1e-6)
    assert one.moved.max_abs == pytest.approx(0.8)


def test_by_distance_the_flips_lie_within_the_rim_of_a_border_and_add_up_to_all() -> None:
    (one,) = measured(RimEngine(2), 0).settings
    assert {distance_px for distance_px, _, flips, _ in one.from_border if flips} == {0, 1}
    total = sum(pixels * flips for _, pixels, flips, _ in one.from_border)
    assert total == pytest.approx(one.moved.flips * INTERIOR_PX**2)
    assert one.from_border.within(2) == (0.0, 0.0)


def test_a_tile_alone_is_wrong_in_its_rim_and_right_inside() -> None:
    curve = list(measured(RimEngine(2), 0).within_tile)
    assert [distance_px for distance_px, *_ in curve] == list(range(TILE_PX // 2))
    assert [flips for _, _, flips, _ in curve] == [1.0, 1.0, *[0.0] * 14]
    assert [apart for *_, apart in curve] == pytest.approx([0.8, 0.8, *[0.0] * 14], abs=0.01)


def test_an_overlap_hides_rims_that_are_narrower_than_half_of_it_from_the_middle_but_not_from_a_mean() -> None:
    middle, equal = measured(RimEngine(2, rim=0.8), 8, kinds=("middle", "equal")).settings
    assert (middle.reference.flips, middle.moved.flips, middle.moved.max_abs) == (0.0, 0.0, 0.0)
    # Where four tiles overlap, three have a pixel in their rims that the fourth has inside.
    assert equal.reference.max_abs == pytest.approx(0.75 * 0.7, abs=0.01)
    assert equal.moved.mean_abs > 0


def test_the_arithmetic_is_counted_against_the_fewest_tiles() -> None:
    without, eighth, quarter, half = measured(RimEngine(2), 0, 4, 8, 16).settings
    assert [one.tiles for one in (without, eighth, quarter, half)] == [25, 36, 49, 81]
    assert half.times_least == 81 / 25
    assert [one.times_least_inside for one in (without, quarter, half)] == [1.0, pytest.approx((4 / 3) ** 2), 4.0]


def test_a_scene_without_an_interior_is_refused() -> None:
    source = ArraySource(np.ones((32, 200, 3), np.float32))
    with pytest.raises(UsageError, match="32 x 200 px has no pixel with data that lies half a tile"):
        measured_seams(source, (32, 200), first_band, tile_px=32, threshold=0.5, overlaps_px=(8,))
