"""Images that show the same ground are found with the share that geometry gives; others are not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from textured_ground import textured_ground

from kda_edge.train.data_report.keypoints import Keypoints, keypoints_of
from kda_edge.train.data_report.shared_content import shared_content

SIDE = 256


def found_in(image: np.ndarray) -> Keypoints:
    return keypoints_of(image, np.ones(image.shape[:2], bool))


def as_jpeg(image: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR))


def test_of_the_tiles_of_a_scene_exactly_those_that_overlap_are_found_with_their_share() -> None:
    ground = textured_ground(0, 4 * SIDE, 4 * SIDE)
    corners = [(row, col) for row in range(0, 3 * SIDE + 1, SIDE // 2) for col in range(0, 3 * SIDE + 1, SIDE // 2)]
    tiles = [found_in(ground[row : row + SIDE, col : col + SIDE]) for row, col in corners]
    first, second = list(range(0, len(tiles), 2)), list(range(1, len(tiles), 2))
    found = shared_content([tiles[i] for i in first], [tiles[j] for j in second])
    expected = {}
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            (row, col), (down, right) = corners[one], corners[other]
            share = max(0, SIDE - abs(row - down)) * max(0, SIDE - abs(col - right)) / SIDE**2
            if share > 0:
                expected[i, j] = share
    assert {(one.first, one.second): pytest.approx(one.share, abs=0.02) for one in found} == expected
    assert min(one.correlation for one in found) > 0.98


@pytest.mark.parametrize("share", [0.75, 0.5, 0.25])
@pytest.mark.parametrize("side_px", [256, 512, 1024])
def test_tiles_that_share_a_quarter_or_more_are_found_wherever_they_are_cut(share: float, side_px: int) -> None:
    offset = round(side_px * (1 - share))
    pairs = []
    for seed in range(8):
        ground = textured_ground(seed, side_px, 2 * side_px)
        pairs.append((found_in(ground[:, :side_px]), found_in(ground[:, offset : offset + side_px])))
    found = shared_content([one for one, _ in pairs], [other for _, other in pairs])
    assert [(one.first, one.second) for one in found] == [(i, i) for i in range(8)]
    assert [one.share for one in found] == pytest.approx([share] * 8, abs=0.02)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda image: image,
    "JPEG of quality 75": as_jpeg,
    "brighter, with less contrast": lambda image: image // 2 + 80,
    "with noise": lambda image: np.clip(
        image + np.random.default_rng(9).normal(0, 6, image.shape), 0, 255
    ).astype(np.uint8),
    "cut at the border": lambda image: image[13:, :-27],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(("quarters", "mirrored"), [(0, False), (1, False), (2, True)])
def test_copies_are_found_however_they_were_stored(
    change: Callable[[np.ndarray], np.ndarray], quarters: int, mirrored: bool
) -> None:
    images = [textured_ground(seed, 200, 240) for seed in range(20, 26)]
    copies = [change(image) for image in images[::-1]]
    turned = [np.ascontiguousarray(np.rot90(copy, quarters)[:, :: -1 if mirrored else 1]) for copy in copies]
    found = shared_content([found_in(image) for image in images], [found_in(copy) for copy in turned])
    assert [(one.first, one.second) for one in found] == [(i, 5 - i) for i in range(6)]
    assert min(one.share for one in found) > 0.97
    for one in found:  # turned as told, the copy looks like the image again
        back = turned[one.second][:, :: -1 if one.mirrored else 1]
        back = np.rot90(back, one.turned)
        assert back.shape == copies[one.second].shape
        np.testing.assert_array_equal(back, copies[one.second])


def test_independent_places_are_not_found_even_among_many() -> None:
    images = [found_in(textured_ground(seed, 128, 128)) for seed in range(100, 300)]
    assert shared_content(images[:140], images[140:]) == []


def test_shores_that_look_alike_are_not_found() -> None:
    images = []
    for seed in range(160):
        rng = np.random.default_rng(seed)
        shore_px = 75 + rng.uniform(-20, 20) + rng.uniform(-0.3, 0.3) * np.arange(150)
        shore_px += 3 * np.sin(np.arange(150) / rng.uniform(8, 30) + rng.uniform(0, 6))
        sea = np.arange(150)[:, None] < shore_px
        image = np.where(sea[..., None], (40, 90, 120), (210, 190, 150)) + rng.normal(0, 3, (150, 150, 3))
        images.append(found_in(np.clip(image, 0, 255).astype(np.uint8)))
    assert shared_content(images[:110], images[110:]) == []


def test_images_that_say_nothing_are_not_found() -> None:
    flat = found_in(np.full((90, 90, 3), 90, np.uint8))
    stripes = found_in(np.repeat(np.where(np.arange(128) % 16 < 8, 40, 200)[:, None, None], 128, 1).astype(np.uint8))
    assert shared_content([flat, flat], [flat]) == []
    assert shared_content([], [flat]) == shared_content([flat], []) == shared_content([], []) == []
    assert shared_content([stripes], [flat]) == []
