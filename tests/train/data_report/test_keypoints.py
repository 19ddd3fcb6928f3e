"""Keypoints depend on the ground alone: a tile cut elsewhere, turned or brightened has the same ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from textured_ground import textured_ground

from kda_edge.train.data_report.keypoints import MARGIN_PX, MOST, TURNS, Keypoints, keypoints_of


def found_in(image: np.ndarray) -> Keypoints:
    return keypoints_of(image, np.ones(image.shape[:2], bool))


def as_set(keypoints: Keypoints, shift: tuple[int, int] = (0, 0)) -> set[tuple[int, int, int]]:
    rows, cols = keypoints.rows + shift[0], keypoints.cols + shift[1]
    return set(zip(rows.tolist(), cols.tolist(), keypoints.codes.tolist(), strict=True))


def test_two_tiles_have_the_same_keypoints_where_they_overlap() -> None:
    ground = textured_ground(0, 300, 400)
    one, other = found_in(ground[:, :256]), found_in(ground[:, 101:])
    # What the strongest of one tile are, the other may not count among its own: most are common, not all.
    common = as_set(one) & as_set(other, (0, 101))
    assert len(one.codes) == len(other.codes) == MOST
    assert len(common) > 0.6 * sum(101 + MARGIN_PX <= col < 256 - MARGIN_PX for col in one.cols)


@pytest.mark.parametrize(("quarters", "mirrored"), TURNS)
def test_turned_keypoints_are_those_of_the_turned_image(quarters: int, mirrored: bool) -> None:
    image = textured_ground(1, 150, 190)
    turned = np.ascontiguousarray(np.rot90(image[:, ::-1] if mirrored else image, quarters))
    expected, found = found_in(turned), found_in(image).turned(quarters, mirrored=mirrored)
    assert (found.height_px, found.width_px) == turned.shape[:2]
    # Blurring sums in another order, so a response or two may be ranked otherwise.
    assert len(as_set(found) & as_set(expected)) >= 0.9 * len(expected.codes)
    assert np.abs(found.thumbnail.astype(int) - expected.thumbnail).max() <= 1


def test_brightness_and_contrast_change_few_bits() -> None:
    image = textured_ground(2, 200, 200)
    assert len(as_set(found_in(image)) & as_set(found_in(image // 2 + 60))) > 0.4 * MOST


def test_no_keypoint_is_near_the_border_or_a_hole() -> None:
    image = textured_ground(3, 160, 160)
    valid = np.ones((160, 160), bool)
    valid[70:90, 60:100] = False
    found = keypoints_of(np.where(valid[..., None], image, 0), valid)
    distance = cv2.distanceTransform(np.pad(valid, 1).astype(np.uint8), cv2.DIST_C, 3)[1:-1, 1:-1]
    assert len(found.codes) > 5
    assert (distance[found.rows, found.cols] > MARGIN_PX).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_every_pixel_type_is_taken_and_flat_images_have_none(dtype: str) -> None:
    image = textured_ground(4, 120, 120)
    assert len(as_set(found_in(image)) & as_set(found_in(image.astype(dtype)))) == len(found_in(image).codes)
    assert len(found_in(np.full((50, 60, 3), 7, dtype)).codes) == 0
    assert found_in(np.full((1, 1, 3), 7, dtype)).thumbnail.shape == (1, 1)


def test_values_without_data_do_not_matter() -> None:
    image, valid = textured_ground(5, 120, 120).astype(np.float32), np.ones((120, 120), bool)
    valid[:30] = False
    holes = [np.where(valid[..., None], image, value).astype(np.float32) for value in (0, 9e9, np.nan, np.inf)]
    first, *others = (as_set(keypoints_of(hole, valid)) for hole in holes)
    assert first
    assert all(other == first for other in others)
