"""Frames with parts that hold no data, and image files that are damaged: nothing is made up, nothing is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_forms import CHECKED, FRAMES, cuts, holes, picture, write_form

from kda_edge.errors import VideoError
from kda_edge.manifest import Manifest
from kda_edge.runtime import Segmenter
from kda_edge.runtime.geo.gdal import open_raster


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / np.float32(255)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Iterator[Segmenter]:
    with Segmenter(identity, make_manifest()) as opened:
        yield opened


@pytest.mark.parametrize("form", FRAMES)
def test_an_image_cut_at_any_of_ten_places_is_refused_by_name(segmenter: Segmenter, tmp_path: Path, form: str) -> None:
    path = write_form(tmp_path, form, picture())
    good = path.read_bytes()
    (whole,) = segmenter.stream(path)
    assert (whole.prediction.mask != 255).all()
    for content in cuts(good):
        path.write_bytes(content)
        with pytest.raises(VideoError, match=rf"{path.name}") as caught:
            list(segmenter.stream(path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [form for form in FRAMES if form in CHECKED])
def test_an_image_with_check_sums_that_is_overwritten_is_refused(
    segmenter: Segmenter, tmp_path: Path, form: str
) -> None:
    path = write_form(tmp_path, form, picture())
    good = path.read_bytes()
    for content in holes(good):
        path.write_bytes(content)
        with pytest.raises(VideoError, match=r"take it out of the folder$"):
            list(segmenter.stream(path))


def test_alpha_nodata_and_masks_of_image_files_are_those_of_scenes(segmenter: Segmenter, tmp_path: Path) -> None:
    image = picture()
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:40], alpha[40:45] = 0, 1
    for name in ("a.png", "b.webp"):
        cv2.imwrite(str(tmp_path / name), np.dstack([image[..., ::-1], alpha]), [cv2.IMWRITE_WEBP_QUALITY, 101])
    size = {"height": 150, "width": 210, "count": 3, "dtype": "uint8"}
    with open_raster(tmp_path / "c.tif", "w", driver="GTiff", nodata=image[0, 0, 1], **size) as dataset:
        dataset.write(image.transpose(2, 0, 1))
    valid = [alpha > 0, alpha > 0, (image != image[0, 0, 1]).all(axis=2)]
    for result, expected in zip(segmenter.stream(tmp_path), valid, strict=True):
        np.testing.assert_array_equal(result.prediction.mask == 255, ~expected)
        np.testing.assert_array_equal(result.frame[expected], image[expected])
        assert type(result.frame) is np.ndarray


def test_masked_frames_are_masked_in_their_results_also_when_made_smaller(segmenter: Segmenter) -> None:
    pixels = picture()
    pixels[:, :70] = 255
    mask = np.zeros(pixels.shape, bool)
    mask[:, :70, 2] = True  # red alone would be a landslide
    frame = np.ma.masked_array(pixels, mask)
    plain, masked = segmenter.stream([pixels, frame])
    assert (plain.prediction.mask[:, :70] == 1).all()
    np.testing.assert_array_equal(masked.prediction.mask == 255, mask.any(axis=2))
    for drop in (None, True):
        (small,) = segmenter.stream([frame], max_side_px=30, drop=drop)
        assert small.prediction.mask.shape == (21, 30)
        assert (small.prediction.mask[:, :10] == 255).all()
        red = cv2.resize(np.ascontiguousarray(pixels[:, 70:, 0]), (20, 21), interpolation=cv2.INTER_AREA)
        assert np.abs(small.prediction.probability[:, 10:] * 255 - red).max() <= 1
    half = np.zeros(pixels.shape, bool)
    half[:, 73:] = True
    (small,) = segmenter.stream([np.ma.masked_array(pixels, half)], max_side_px=30)
    np.testing.assert_array_equal(small.prediction.mask[0] == 255, np.arange(30) >= 10)
