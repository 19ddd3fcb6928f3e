"""JPEG: every kind that cameras write passes, and what its decoder notices up to the end does not."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import rasterio
from image_forms import cuts, picture

from kda_edge.rasters.gdal_messages import STRICT
from kda_edge.rasters.jpeg_stream import jpeg_fault

KINDS: dict[str, list[int]] = {
    "plain": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
    "full colour": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "half colour": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422],
    "colour of tall pixels": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440],
    "quarter colour": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411],
    "best": [cv2.IMWRITE_JPEG_QUALITY, 100],
    "optimized": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
}


@pytest.fixture(autouse=True)
def strictly() -> Iterator[None]:
    with rasterio.Env(**STRICT):
        yield


def jpeg(kind: str = "plain", image: np.ndarray | None = None) -> bytes:
    pixels = picture() if image is None else image
    return bytes(cv2.imencode(".jpg", pixels, KINDS[kind])[1].tobytes())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_hw", [(1, 1), (17, 33), (150, 210), (2100, 40)], ids=str)
def test_a_good_file_of_any_kind_and_size_passes(kind: str, size_hw: tuple[int, int]) -> None:
    """More than 2000 rows are read row by row by GDAL, of which the last one must be the decoder's last."""
    image = picture((150, 210))
    image = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA)
    assert jpeg_fault(jpeg(kind, image)) is None
    assert jpeg_fault(jpeg(kind, image[..., 0])) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file_never_passes(kind: str) -> None:
    for content in cuts(jpeg(kind)):
        assert jpeg_fault(content) is not None


@pytest.mark.parametrize("height", [150, 2100])
def test_bytes_left_over_at_the_end_are_damage_unless_they_are_padding(height: int) -> None:
    content = jpeg(image=picture((height, 60)))
    assert jpeg_fault(content + b"an embedded preview, or what a camera adds") is None
    assert jpeg_fault(content[:-2] + bytes(300) + content[-2:]) is None
    fault = jpeg_fault(content[:-2] + b"\x55" * 300 + content[-2:])
    assert fault == "Corrupt JPEG data: 300 extraneous bytes before marker 0xd9"


def test_too_little_data_and_what_is_no_jpeg_are_told() -> None:
    content = jpeg()
    middle = len(content) // 2
    fault = jpeg_fault(content[:middle] + content[-2:])
    assert fault == "Corrupt JPEG data: premature end of data segment"
    for rubbish in (
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\x00",
        b"\xff\xd8\xff\xc0\x00\x03\x08\xff\xd9",
    ):
        assert jpeg_fault(rubbish) is not None
