"""What GDAL says when a file is opened is no damage, even where that happens while pixels are read; all else is."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from image_forms import picture, write_form
from rasterio.windows import Window

from kda_edge.rasters.gdal_messages import GDAL_ERRORS, STRICT, one_line
from kda_edge.rasters.strict_window import StrictBands, WindowPixels, opening_warnings
from kda_edge.runtime.geo.gdal import open_raster

HEIGHT, WIDTH, BLOCK = 100, 150, 64


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (3, HEIGHT, WIDTH), np.uint8)


def entries_of(content: bytes) -> tuple[int, list[bytes]]:
    """Return where a TIFF's directory begins, behind its count, and its entries of 12 bytes."""
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    return at + 2, [content[at + 2 + 12 * number : at + 14 + 12 * number] for number in range(count)]


def unsorted(entries: list[bytes]) -> list[bytes]:
    """Swap two tags: libtiff warns and goes on."""
    return [*entries[:3], entries[5], entries[4], entries[3], *entries[6:]]


def with_one_number_for_three(entries: list[bytes]) -> list[bytes]:
    """Say the bits of a number once for all bands."""
    return [struct.pack("<HHIHH", 258, 3, 1, 8, 8) if entry[:2] == b"\x02\x01" else entry for entry in entries]


def with_a_private_tag_nowhere(entries: list[bytes]) -> list[bytes]:
    """Replace the last tag, which says what is the default, by a private one that lies behind the end of the file."""
    return [*entries[:-1], struct.pack("<HHII", 65000, 2, 40, 99_999_999)]


def with_broken_geokeys(entries: list[bytes]) -> list[bytes]:
    """Replace it by a directory of geokeys that is none."""
    return [*entries[:-1], struct.pack("<HHII", 34735, 3, 3, 7)]


ODD_HEADERS = [unsorted, with_one_number_for_three, with_a_private_tag_nowhere, with_broken_geokeys]


def odd_tiff(path: Path, odd: Callable[[list[bytes]], list[bytes]]) -> Path:
    """Write a good TIFF with a header that GDAL warns of."""
    profile = {"count": 3, "height": HEIGHT, "width": WIDTH, "dtype": "uint8", "photometric": "rgb"}
    blocks = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate"}
    with open_raster(path, "w", driver="GTiff", **profile, **blocks) as dataset:
        dataset.write(noise())
    content = bytearray(path.read_bytes())
    at, entries = entries_of(content)
    content[at : at + 12 * len(entries)] = b"".join(odd(entries))
    path.write_bytes(content)
    return path


def vrt_of(source: Path, path: Path, *, properties: bool = True) -> Path:
    """Write a VRT of the whole source, with its properties as gdalbuildvrt tells them: so it is opened late."""
    size = f'RasterXSize="{WIDTH}" RasterYSize="{HEIGHT}" DataType="Byte" BlockXSize="{BLOCK}" BlockYSize="{BLOCK}"'
    rect = f'xOff="0" yOff="0" xSize="{WIDTH}" ySize="{HEIGHT}"'
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source.name}</SourceFilename><SourceBand>{band}</SourceBand>'
        f"{f'<SourceProperties {size} />' if properties else ''}<SrcRect {rect} /><DstRect {rect} />"
        "</SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path.write_text(f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">{bands}</VRTDataset>')
    return path


def read(path: Path, window: Window | None = None) -> WindowPixels | list[str]:
    with rasterio.Env(**STRICT), open_raster(path) as dataset:
        strict = StrictBands(path, dataset, (1, 2, 3))
        return strict.read_all(dataset) if window is None else strict.read(dataset, window)


@pytest.mark.parametrize("odd", ODD_HEADERS)
def test_a_file_with_an_odd_header_is_read_alone_and_through_vrts_to_any_depth(
    tmp_path: Path, odd: Callable[[list[bytes]], list[bytes]]
) -> None:
    path = odd_tiff(tmp_path / "0.tif", odd)
    for depth, properties in enumerate((None, True, True, False)):
        if properties is not None:
            path = vrt_of(path, tmp_path / f"{depth}.vrt", properties=properties)
        for window in (None, Window(20, 30, 90, 40)):
            found = read(path, window)
            assert isinstance(found, WindowPixels), found
            image = noise().transpose(1, 2, 0)
            np.testing.assert_array_equal(found.image, image if window is None else image[30:70, 20:110])


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize(
    ("odd", "words"),
    [(unsorted, "not sorted"), (with_a_private_tag_nowhere, "Tag 65000"), (with_broken_geokeys, "corrupt")],
)
def test_what_opening_says_is_heard(
    tmp_path: Path, odd: Callable[[list[bytes]], list[bytes]], words: str, depth: int
) -> None:
    """Else the test above would promise nothing."""
    path = odd_tiff(tmp_path / "s.tif", odd)
    for number in range(depth):
        path = vrt_of(path, tmp_path / f"{number}.vrt")
    with rasterio.Env(**STRICT):
        (warning,) = opening_warnings(path)
    assert words in warning
    assert opening_warnings(vrt_of(tmp_path / "gone.tif", tmp_path / "t.vrt")) == frozenset()


@pytest.mark.parametrize("odd", [None, *ODD_HEADERS])
def test_damage_behind_an_odd_header_is_found_through_a_vrt(
    tmp_path: Path, odd: Callable[[list[bytes]], list[bytes]] | None
) -> None:
    source = odd_tiff(tmp_path / "s.tif", odd or list)
    path = vrt_of(vrt_of(source, tmp_path / "s.vrt"), tmp_path / "t.vrt")
    with open_raster(source) as dataset:
        offset, size = (int(dataset.get_tag_item(f"BLOCK_{fact}_1_0", "TIFF", 1)) for fact in ("OFFSET", "SIZE"))
    content = bytearray(source.read_bytes())
    content[offset : offset + size] = b"\xff" * size
    source.write_bytes(content)
    assert isinstance(read(path), list)
    assert isinstance(read(path, Window(BLOCK, 0, BLOCK, BLOCK)), list)
    beside = read(path, Window(0, 0, BLOCK, BLOCK))
    assert isinstance(beside, WindowPixels)
    np.testing.assert_array_equal(beside.image, noise().transpose(1, 2, 0)[:BLOCK, :BLOCK])


def test_a_mask_beside_a_file_may_have_an_odd_header_too(tmp_path: Path) -> None:
    """It is opened when the first mask is asked for."""
    path = odd_tiff(tmp_path / "s.tif", list)
    valid = np.random.default_rng(1).random((HEIGHT, WIDTH)) < 0.5
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), open_raster(path, "r+") as dataset:
        dataset.write_mask(valid)
    mask = tmp_path / "s.tif.msk"
    content = bytearray(mask.read_bytes())
    at, entries = entries_of(content)
    content[at : at + 12 * len(entries)] = b"".join(unsorted(entries))
    mask.write_bytes(content)
    found = read(path)
    assert isinstance(found, WindowPixels), found
    np.testing.assert_array_equal(found.valid, valid)


def test_a_png_may_complain_of_its_colour_profile_whenever_it_is_decoded_anew(tmp_path: Path) -> None:
    """libpng says it again each time that GDAL goes back to the first row."""
    image = np.random.default_rng(0).integers(1, 256, (300, 640, 3), np.uint8)
    content = bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    profile = b"iCCPcamera\0\0no profile"
    chunk = struct.pack(">I", len(profile) - 4) + profile + struct.pack(">I", zlib.crc32(profile))
    path = tmp_path / "s.png"
    path.write_bytes(content[:33] + chunk + content[33:])
    with rasterio.Env(**STRICT), open_raster(path) as dataset:
        strict = StrictBands(path, dataset, (1, 2, 3))
        for row in (200, 0, 100):
            found = strict.read(dataset, Window(0, row, 640, 50))
            assert isinstance(found, WindowPixels), found
            np.testing.assert_array_equal(found.image, image[row : row + 50])


@pytest.mark.parametrize("rows_px", [150, 64], ids=["at once", "by windows"])
@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "jpeg 2000", "imagine compressed"])
def test_what_lies_behind_the_end_of_a_file_is_not_read_though_nobody_has_looked_at_it_as_a_whole(
    tmp_path: Path, form: str, rows_px: int
) -> None:
    """The second line of defence: GDAL must be told to fail, or it takes for pixels what lies in memory, or zeros."""
    path = write_form(tmp_path, form, picture())
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with rasterio.Env(**STRICT), open_raster(path) as dataset:
        strict = StrictBands(path, dataset, (1, 2, 3))
        last = 150 - 150 % rows_px if rows_px < 150 else 0
        assert isinstance(strict.read(dataset, Window(0, last, 210, 150 - last)), list)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_words_that_are_no_utf_8_end_in_one_line(tmp_path: Path) -> None:
    """rasterio can't decode what GDAL says of a damaged header."""
    path = tmp_path / "s.mrf"
    path.write_bytes(
        b"<MRF_META><Raster><Size x='9' y='9' c='3'/><Compression>\xc0\xfe</Compression></Raster></MRF_META>"
    )
    with pytest.raises(GDAL_ERRORS) as caught:
        open_raster(path)
    assert "\n" not in one_line(caught.value)
