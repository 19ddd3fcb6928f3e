"""The sums of each component, against a look at every pixel of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kda_edge.runtime.polygons.connected_components import ComponentStream


def sums_of(layers: np.ndarray, cuts: list[int], strip_px: int) -> dict[int, tuple[int, ...]]:
    stream = ComponentStream(layers.shape[2], strip_px=strip_px)
    complete = [part for rows in np.split(layers, cuts, axis=1) for part in stream.add(rows)]
    found = {}
    for components in (*complete, stream.finish()):
        for first, sums in zip(components.first_pixel.tolist(), components.sums.T.tolist(), strict=True):
            found[first] = tuple(sums)
    return found


def every_pixel(layers: np.ndarray) -> dict[int, tuple[int, ...]]:
    count, labels = cv2.connectedComponents((layers[0] == 1).astype(np.uint8), connectivity=4)
    found = {}
    for label in range(1, count):
        rows, cols = np.nonzero(labels == label)
        values = [layers[:, row, col].tolist() for row, col in zip(rows, cols, strict=True)]
        probability = [value[1] for value in values]
        found[int(rows[0]) * layers.shape[2] + int(cols[0])] = (
            len(values),
            sum(probability),
            max(probability),
            sum(value[2] != 0 for value in values),
        )
    return found


@pytest.mark.parametrize("share", [0.02, 0.3, 0.55, 0.9, 1.0])
@pytest.mark.parametrize(("height", "width"), [(40, 31), (1, 50), (50, 1), (25, 25)])
def test_pixels_probability_and_qa_of_each_component_are_those_of_its_pixels(
    share: float, height: int, width: int
) -> None:
    random = np.random.default_rng(int(share * 100) + height)
    classes = np.where(random.random((height, width)) < share, 1, random.choice([0, 255], (height, width)))
    qa = random.choice([0, 0, 2, 12], (height, width))
    layers = np.stack([classes, random.integers(0, 255, (height, width)), qa]).astype(np.uint8)
    expected = every_pixel(layers)
    for cuts, strip_px in (([], 10**6), ([height // 3, height // 2], 10**6), ([], width), ([height // 2], 3 * width)):
        assert sums_of(layers, cuts, strip_px) == expected
