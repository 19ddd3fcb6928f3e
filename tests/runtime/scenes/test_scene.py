from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from kda_edge.errors import SceneError
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.scenes.scene import open_scene

U8 = InputContract()
F32 = InputContract(pixel_type="float32", value_range=(0, 1), mean=(0, 0, 0), std=(1, 1, 1))


def pixels(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.uniform(0.01, 1, shape).astype(dtype)
    return rng.integers(1, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def refusal(path: Path, contract: InputContract = U8, **options: Any) -> str:
    with pytest.raises(SceneError) as caught, gdal_session(), open_scene(path, contract, **options) as scene:
        scene.read(0, scene.height_px, 0, scene.width_px)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize(
    "layout",
    [
        {"tiled": True, "blockxsize": 16, "blockysize": 32, "compress": "deflate"},
        {"blockysize": 1},
        {"blockysize": 7, "interleave": "band", "compress": "lzw"},
        {"blockysize": 70},
    ],
    ids=["tiles", "rows", "strips by band", "one strip"],
)
def test_windows_hold_the_files_own_values_whatever_its_blocks(
    tmp_path: Path, scene_at: Callable[..., Any], dtype: str, layout: dict[str, Any]
) -> None:
    file = scene_at(tmp_path / "s.tif", pixels(70, 50, 3, dtype=dtype), **layout)
    contract = InputContract(pixel_type=dtype, value_range=(0, 1e5))
    with gdal_session(), open_scene(file.path, contract) as scene:
        assert (scene.height_px, scene.width_px) == (70, 50)
        for window in ((0, 70, 0, 50), (3, 40, 10, 11), (69, 70, 0, 50)):
            image, valid, _ = scene.read(*window)
            expected = file.image[window[0] : window[1], window[2] : window[3]]
            np.testing.assert_array_equal(image, expected)
            assert image.dtype == dtype
            assert valid.all()


@pytest.mark.parametrize(
    ("mask", "dtype"),
    [
        *((mask, dtype) for mask in ("nodata", "alpha", "internal", "sidecar") for dtype in ("uint8", "uint16")),
        ("nan", "float32"),
        ("nodata", "float32"),
    ],
)
def test_every_kind_of_mask_tells_the_same_pixels(
    tmp_path: Path, scene_at: Callable[..., Any], mask: str, dtype: str
) -> None:
    """Tiling rule 12: nodata value, alpha band, internal mask, sidecar, NaN: one result."""
    valid = np.random.default_rng(1).random((40, 60)) < 0.8
    contract = InputContract(pixel_type=dtype, value_range=(0, 1e5))
    file = scene_at(tmp_path / "s.tif", pixels(40, 60, 3, dtype=dtype), valid=valid, mask=mask)
    if mask != "nan":
        with rasterio.open(file.path) as dataset:
            np.testing.assert_array_equal(dataset.dataset_mask() > 0, valid)
    with gdal_session(), open_scene(file.path, contract) as scene:
        np.testing.assert_array_equal(scene.read(0, 40, 0, 60)[1], valid)
        np.testing.assert_array_equal(scene.read(5, 9, 7, 20)[1], valid[5:9, 7:20])
        np.testing.assert_array_equal(scene.read(10, 30, 0, 60).valid, valid[10:30])


def test_nodata_declared_as_nan_and_infinities_are_not_valid(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    """Tiling rule 12: one band is enough to spoil a pixel."""
    image = pixels(9, 9, 3, dtype="float32")
    image[1, 1, 0], image[2, 2, 1], image[3, 3, 2], image[4, 4] = np.nan, np.inf, -np.inf, np.nan
    expected = np.ones((9, 9), bool)
    expected[range(1, 5), range(1, 5)] = False
    for name, profile in (("tagged", {"nodata": float("nan")}), ("bare", {})):
        path = scene_at(tmp_path / f"{name}.tif", image, **profile).path
        with gdal_session(), open_scene(path, F32) as scene:
            np.testing.assert_array_equal(scene.read(0, 9, 0, 9).valid, expected)


@pytest.mark.parametrize(
    ("count", "nodata_of", "invalid"),
    [(3, (1, 2, 3), [(0, 0), (1, 1), (2, 2)]), (3, (2,), [(0, 0)]), (4, (4,), [])],
    ids=["three values", "one band has one", "the fourth band of four"],
)
def test_nodata_that_differs_by_band_counts_in_each_of_the_three_and_in_no_other(
    tmp_path: Path, scene_at: Callable[..., Any], count: int, nodata_of: tuple[int, ...], invalid: list[tuple[int, int]]
) -> None:
    image = np.full((4, 4, count), 50, np.uint8)
    image[0, 0], image[1, 1, 0], image[2, 2, -1] = range(1, count + 1), 1, count
    scene_at(tmp_path / "s.tif", image)
    colors = ("Red", "Green", "Blue", "Undefined")
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{colors[band - 1]}</ColorInterp>'
        + (f"<NoDataValue>{band}</NoDataValue>" if band in nodata_of else "")
        + '<SimpleSource><SourceFilename relativeToVRT="1">s.tif</SourceFilename>'
        f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in range(1, count + 1)
    )
    path = tmp_path / "s.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="4" rasterYSize="4"><GeoTransform>0,1,0,9,0,-1</GeoTransform>{bands}</VRTDataset>'
    )
    with gdal_session(), open_scene(path, U8) as scene:
        valid = scene.read(0, 4, 0, 4).valid
    assert list(zip(*np.nonzero(~valid), strict=True)) == invalid


def test_bands_are_found_by_their_colour_or_by_number(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    file = scene_at(tmp_path / "s.tif", pixels(8, 8, 4), photometric="minisblack")
    assert "--bands" in refusal(file.path)
    with gdal_session(), open_scene(file.path, U8, bands=(4, 2, 1)) as scene:
        np.testing.assert_array_equal(scene.read(0, 8, 0, 8)[0], file.image[:, :, [3, 1, 0]])
    with rasterio.open(file.path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    with gdal_session(), open_scene(file.path, U8) as scene:
        assert scene.bands == (4, 3, 2)


@pytest.mark.parametrize(
    "transform",
    [
        Affine(0.49986221540957215, 0, 469205.3391910029, 0, -0.5000798722678572, 3446192.3136770236),
        Affine(0.5, 0, 100, 0, 0.5, 200),
        Affine(0.4, 0.3, 100, 0.3, -0.4, 200),
        None,
    ],
    ids=["not square", "south-up", "rotated", "none"],
)
@pytest.mark.parametrize("crs", ["EPSG:32647", None])
def test_transform_and_crs_are_the_files_own(
    tmp_path: Path, scene_at: Callable[..., Any], transform: Affine | None, crs: str | None
) -> None:
    """Tiling rule 17."""
    file = scene_at(tmp_path / "s.tif", pixels(8, 8, 3), transform=transform, crs=crs)
    with gdal_session(), open_scene(file.path, U8) as scene:
        assert scene.transform == transform
        assert (scene.crs is None) == (crs is None)


GCPS = [GroundControlPoint(row, col, 100 + col, 200 - row) for row, col in ((0, 0), (0, 8), (8, 0), (8, 8))]


def test_control_points_alone_are_refused_with_the_remedy(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    """Tiling rule 17."""
    file = scene_at(tmp_path / "s.tif", pixels(8, 8, 3), transform=None, crs=None)
    with open_raster(file.path, "r+") as dataset:
        dataset.gcps = (GCPS, rasterio.CRS.from_epsg(32647))
    assert "gdalwarp -tps" in refusal(file.path)


def test_control_points_beside_a_transform_are_no_obstacle(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    scene_at(tmp_path / "s.tif", pixels(8, 8, 3))
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">s.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    points = "".join(f'<GCP Id="{p.id}" Pixel="{p.col}" Line="{p.row}" X="{p.x}" Y="{p.y}"/>' for p in GCPS)
    path = tmp_path / "s.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><SRS>EPSG:32647</SRS><GeoTransform>5,1,0,9,0,-1</GeoTransform>'
        f'<GCPList Projection="EPSG:32647">{points}</GCPList>{bands}</VRTDataset>'
    )
    with rasterio.open(path) as dataset:
        assert dataset.gcps[0]
    with gdal_session(), open_scene(path, U8) as scene:
        assert scene.transform == Affine(1, 0, 5, 0, -1, 9)


def test_a_sensor_model_alone_is_refused_with_the_remedy(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    file = scene_at(tmp_path / "s.tif", pixels(8, 8, 3), transform=None, crs=None)
    numbers = " ".join(["1"] + ["0"] * 19)
    rpc = {f"{axis}_{part}_COEFF": numbers for axis in ("LINE", "SAMP") for part in ("NUM", "DEN")}
    rpc |= {f"{name}_{kind}": "1" for name in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT") for kind in ("OFF", "SCALE")}
    with open_raster(file.path, "r+") as dataset:
        dataset.update_tags(ns="RPC", **rpc)
    assert "gdalwarp -rpc" in refusal(file.path)


@pytest.mark.parametrize("transform", [Affine(0.5, 0, 9, 0, 0, 9), Affine(1, 2, 9, 2, 4, 9)], ids=["flat", "a line"])
def test_a_transform_that_gives_pixels_no_area_is_refused(
    tmp_path: Path, scene_at: Callable[..., Any], transform: Affine
) -> None:
    assert "no area" in refusal(scene_at(tmp_path / "s.tif", pixels(8, 8, 3), transform=transform).path)


def test_a_nodata_value_beside_an_alpha_band_is_no_warning(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    """Tiling rule 12: drone software writes both, and both count."""
    valid = np.random.default_rng(1).random((20, 20)) < 0.5
    path = scene_at(tmp_path / "s.tif", pixels(20, 20, 3), valid=valid, mask="alpha", nodata=0).path
    with gdal_session(), open_scene(path, U8) as scene:
        np.testing.assert_array_equal(scene.read(0, 20, 0, 20)[1], valid)


def test_another_pixel_type_is_refused_unless_its_range_is_declared(
    tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    """Tiling rule 8."""
    for dtype in ("uint16", "int16", "float32", "float64", "uint32"):
        path = scene_at(tmp_path / f"{dtype}.tif", pixels(8, 8, 3, dtype=dtype)).path
        message = refusal(path)
        assert dtype in message
        assert "--value-range LO HI" in message
        with gdal_session(), open_scene(path, U8, value_range=(0, 1)) as scene:
            assert scene.read(0, 8, 0, 8)[0].dtype == dtype
    path = scene_at(tmp_path / "bytes.tif", pixels(8, 8, 3)).path
    assert "trained on float32" in refusal(path, F32)


def test_complex_pixels_are_refused_even_with_a_range(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    path = scene_at(tmp_path / "s.tif", pixels(8, 8, 3).astype("complex64")).path
    assert "complex" in refusal(path, value_range=(0, 1))


def test_a_palette_is_refused_with_the_remedy(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    file = scene_at(tmp_path / "s.tif", pixels(8, 8, 1), photometric="palette")
    with rasterio.open(file.path, "r+") as dataset:
        dataset.write_colormap(1, {value: (value, 0, 0, 255) for value in range(256)})
    assert "gdal_translate -expand rgb" in refusal(file.path)


def test_one_of_our_own_maps_is_not_taken_for_a_scene(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    file = scene_at(tmp_path / "s_landslide.tif", pixels(8, 8, 3))
    with rasterio.open(file.path, "r+") as dataset:
        dataset.descriptions = ("class", "probability", "qa")
    assert "is a landslide map" in refusal(file.path)
