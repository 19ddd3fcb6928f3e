"""Files of which GDAL would take a missing end for zeros, and files that only look so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from image_forms import picture, write_form

from kda_edge.rasters.gdal_messages import STRICT
from kda_edge.rasters.whole_rasters import whole_fault
from kda_edge.runtime.geo.gdal import open_raster


def fault(path: Path) -> str | None:
    with rasterio.Env(**STRICT), open_raster(path) as dataset:
        return whole_fault(dataset, path, (1,))


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("size_hw", [(3, 2), (64, 64), (130, 65)], ids=str)
@pytest.mark.parametrize(
    ("driver", "ending", "options"),
    [
        ("ENVI", "dat", {}),
        ("ENVI", "bip", {"INTERLEAVE": "BIP"}),
        ("HFA", "img", {"USE_SPILL": "YES"}),
        ("PCIDSK", "pix", {}),
        ("PCIDSK", "pix", {"INTERLEAVING": "PIXEL"}),
        ("PCIDSK", "pix", {"INTERLEAVING": "TILED"}),
    ],
)
def test_a_whole_file_of_any_size_passes_and_one_without_its_last_byte_does_not(
    tmp_path: Path,
    driver: str,
    ending: str,
    options: dict[str, str],
    size_hw: tuple[int, int],
    dtype: str,
    count: int,
) -> None:
    tmp, path = tmp_path / "tmp.tif", tmp_path / f"s.{ending}"
    profile = {"height": size_hw[0], "width": size_hw[1], "count": count, "dtype": dtype}
    with open_raster(tmp, "w", driver="GTiff", **profile) as dataset:
        dataset.write(np.ones((count, *size_hw), dtype))
    rasterio.shutil.copy(tmp, path, driver=driver, **options)
    assert fault(path) is None
    if options.get("INTERLEAVING") == "TILED":
        return  # GDAL fails where it is read
    pixels = path.with_suffix(".ige") if driver == "HFA" else path
    pixels.write_bytes(pixels.read_bytes()[:-1])
    said = fault(path)
    assert said is not None
    assert f"{pixels} ends after {pixels.stat().st_size} bytes and should have {pixels.stat().st_size + 1}" in said
    assert said.endswith("copy it again from its source")


def test_pixels_of_an_envi_file_begin_where_its_header_says(tmp_path: Path) -> None:
    path = write_form(tmp_path, "envi", picture())
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text().replace("header offset = 0", "header offset = 100"))
    said = fault(path)
    assert said is not None
    assert f"should have {150 * 210 * 3 + 100}" in said
    path.write_bytes(bytes(100) + path.read_bytes())
    assert fault(path) is None


@pytest.mark.parametrize("flags", [None, "2", "0"], ids=["by default", "of the file", "of each band"])
def test_a_mask_beside_a_file_is_missed_where_gdal_passes_over_it(tmp_path: Path, flags: str | None) -> None:
    path = write_form(tmp_path, "tiff", picture())
    mask = path.with_name(f"{path.name}.msk")
    with open_raster(mask, "w", driver="GTiff", height=150, width=210, count=3, dtype="uint8") as dataset:
        dataset.write(np.full((3, 150, 210), 255, np.uint8))
        if flags is not None:
            dataset.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": flags for band in (1, 2, 3)})
    used = flags is not None
    assert (fault(path) is None) == used
    mask.write_bytes(mask.read_bytes()[:6])
    assert fault(path) == f"{mask} is the mask of {path.name} and can't be read; copy it again or remove it"
