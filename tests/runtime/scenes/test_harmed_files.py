"""Files cut short at ten places or overwritten in their middle: refused, or what is lost is marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from image_forms import CHECKED, FORMS, SIZE_HW, cuts, holes, picture, pixel_file, write_form

from kda_edge.errors import SceneError
from kda_edge.manifest import InputContract, Manifest
from kda_edge.runtime import Segmenter
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.scenes.scene import open_scene

HEIGHT, WIDTH = SIZE_HW


def read(path: Path, rows_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a scene's pixels and where it answers for them, read in windows of so many rows."""
    with gdal_session(), open_scene(path, InputContract(), bands=(1, 2, 3), any_gsd=True) as scene:
        assert (scene.height_px, scene.width_px) == SIZE_HW
        parts = [scene.read(row, min(row + rows_px, HEIGHT), 0, WIDTH) for row in range(0, HEIGHT, rows_px)]
    return np.concatenate([part.image for part in parts]), np.concatenate([part.valid for part in parts])


def silently_wrong(path: Path, harmed: Iterator[bytes], rows_px: int) -> list[int]:
    """Return which of the harmed files gave a pixel that the good one does not have."""
    pixels = pixel_file(path)
    good, valid = read(path, rows_px)
    assert valid.all()
    found = []
    for number, content in enumerate(harmed):
        pixels.write_bytes(content)
        with suppress(SceneError):
            image, valid = read(path, rows_px)
            if (image[valid] != good[valid]).any():
                found.append(number)
    return found


@pytest.mark.parametrize("rows_px", [HEIGHT, 64], ids=["at once", "by windows"])
@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_at_any_of_ten_places_gives_no_pixel_that_it_does_not_hold(
    tmp_path: Path, form: str, rows_px: int
) -> None:
    path = write_form(tmp_path, form, picture())
    assert silently_wrong(path, cuts(pixel_file(path).read_bytes()), rows_px) == []


@pytest.mark.parametrize("rows_px", [HEIGHT, 64], ids=["at once", "by windows"])
@pytest.mark.parametrize("form", CHECKED)
def test_a_file_with_check_sums_that_is_overwritten_in_its_middle_gives_none_either(
    tmp_path: Path, form: str, rows_px: int
) -> None:
    path = write_form(tmp_path, form, picture())
    assert silently_wrong(path, holes(path.read_bytes()), rows_px) == []


def test_most_holes_in_a_jpeg_are_found_though_it_has_no_check_sums(tmp_path: Path) -> None:
    """GDAL's driver alone, which stops at the last row, passes twice as many."""
    path = write_form(tmp_path, "jpeg", picture())
    assert len(silently_wrong(path, holes(path.read_bytes()), HEIGHT)) <= 6


def test_a_cut_off_png_is_refused_before_anything_is_written(
    tmp_path: Path, make_manifest: Callable[..., Manifest]
) -> None:
    path = write_form(tmp_path, "png", picture())
    path.write_bytes(path.read_bytes()[:-20])
    segmenter = Segmenter(lambda tiles: tiles[:, :1] / np.float32(255), make_manifest())
    for _ in range(2):
        with pytest.raises(SceneError, match=r"form\.png is not whole \(it ends before its last chunk\); copy"):
            segmenter.predict_scene(path, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_tga_is_refused_since_nobody_can_tell_whether_it_is_whole(tmp_path: Path) -> None:
    height, width, _ = picture().shape
    head = bytes([0, 0, 2, *[0] * 9, width % 256, width // 256, height % 256, height // 256, 24, 32])
    path = tmp_path / "s.tga"
    path.write_bytes(head + picture().tobytes())
    with pytest.raises(SceneError, match=r"s\.tga is a TGA, .* give a GeoTIFF or a PNG"):
        read(path, HEIGHT)


def vrt_of(source: Path, path: Path) -> Path:
    """Write a VRT of the whole source."""
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">{source.name}'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path.write_text(f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">{bands}</VRTDataset>')
    return path


@pytest.mark.parametrize("rows_px", [HEIGHT, 64], ids=["at once", "by windows"])
@pytest.mark.parametrize("form", FORMS)
def test_a_cut_file_gives_none_through_a_vrt_of_a_vrt_either(tmp_path: Path, form: str, rows_px: int) -> None:
    source = write_form(tmp_path, form, picture())
    path = vrt_of(vrt_of(source, tmp_path / "s.vrt"), tmp_path / "t.vrt")
    good = read(path, rows_px)[0]
    pixels = pixel_file(source)
    for content in cuts(pixels.read_bytes()):
        pixels.write_bytes(content)
        with suppress(SceneError):
            image, valid = read(path, rows_px)
            np.testing.assert_array_equal(image[valid], good[valid])


def test_a_damaged_png_of_a_vrt_is_named_and_a_damaged_tiff_costs_its_blocks(tmp_path: Path) -> None:
    for form, is_refused in (("png", True), ("tiff deflate", False)):
        source = write_form(tmp_path, form, picture())
        path = vrt_of(source, tmp_path / "s.vrt")
        content = bytearray(source.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
        source.write_bytes(content)
        if is_refused:
            with pytest.raises(
                SceneError, match=r"s\.vrt is made of a file that can't be read: .*form\.png is not whole"
            ):
                read(path, HEIGHT)
        else:
            _, valid = read(path, HEIGHT)
            assert valid.any()
            assert not valid.all()
