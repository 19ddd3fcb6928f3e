from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from kda_edge.errors import SceneError
from kda_edge.export.tiles.imagery_tiles import TILES_MAX, imagery_tiles
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.mapping.value_range import with_values_mapped
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.certificate_tiles import Tile
from kda_edge.tiling.predict import predict
from kda_edge.tiling.tile_grid import TileGrid

EIGHT_BIT = InputContract()
WriteRaster = Callable[..., Path]


@pytest.fixture
def write_raster(tmp_path: Path) -> WriteRaster:
    """A raster of seeded noise without georeference; `nodata_cols` on the left are nodata (0)."""

    def write(
        name: str,
        height_px: int,
        width_px: int,
        dtype: str = "uint8",
        bands: int = 3,
        nodata_cols: int = 0,
        seed: int = 0,
    ) -> Path:
        pixels = np.random.default_rng(seed).integers(1, 255, (bands, height_px, width_px)).astype(dtype)
        pixels[:, :, :nodata_cols] = 0
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        driver = {".tif": "GTiff", ".png": "PNG"}[path.suffix]
        nodata = 0 if nodata_cols else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                path, "w", driver=driver, height=height_px, width=width_px, count=bands, dtype=dtype, nodata=nodata
            ) as file:
                file.write(pixels)
        return path

    return write


def fed_to_the_engine(path: Path, contract: InputContract, tile_px: int) -> list[bytes]:
    """Every tile that the runtime hands to its engine for a scene without overlap."""
    fed: list[bytes] = []

    def record(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        fed.extend(tile.tobytes() for tile in tiles)
        return np.zeros_like(tiles[:, :1])

    with gdal_session(), open_scene(path, contract) as scene:
        grid = TileGrid(scene.height_px, scene.width_px, tile_px)
        for _ in predict(scene, grid, with_values_mapped(record, contract, None)):
            pass
    return fed


@pytest.mark.parametrize(
    ("size_hw", "nodata_cols"), [((64, 96), 0), ((70, 100), 20), ((20, 45), 0)], ids=["whole", "nodata", "small"]
)
def test_tiles_of_a_scene_are_those_that_the_runtime_gives_its_engine(
    write_raster: WriteRaster, size_hw: tuple[int, int], nodata_cols: int
) -> None:
    path = write_raster("scene.tif", *size_hw, nodata_cols=nodata_cols)
    tiles = imagery_tiles(path, EIGHT_BIT, 64)
    fed = fed_to_the_engine(path, EIGHT_BIT, 64)
    assert {tile.pixels.tobytes() for tile in tiles} == set(fed)
    assert len(tiles) == len(fed)


def test_values_beyond_the_declared_range_are_clipped_as_the_runtime_clips_them(write_raster: WriteRaster) -> None:
    dark = InputContract(value_range=(0.0, 100.0))
    (tile,) = imagery_tiles(write_raster("scene.tif", 64, 64), dark, 64)
    assert tile.pixels.max() == 100


def test_a_large_scene_gives_a_few_tiles_spread_over_it(write_raster: WriteRaster) -> None:
    tiles = imagery_tiles(write_raster("large.tif", 32 * 12, 32 * 12), EIGHT_BIT, 32)
    assert len(tiles) == TILES_MAX
    rows = [int(tile.name.split("row ")[1].split(",")[0]) for tile in tiles]
    assert min(rows) < 32 * 3
    assert max(rows) >= 32 * 9


def test_a_folder_gives_one_tile_a_file_and_leaves_other_files_alone(write_raster: WriteRaster) -> None:
    paths = [write_raster(f"folder/{name}", 64, 64, seed=i) for i, name in enumerate(("a.tif", "b.png", "c.tif"))]
    (paths[0].parent / "notes.txt").write_text("no image")
    tiles = imagery_tiles(paths[0].parent, EIGHT_BIT, 64)
    assert [tile.name.split(",")[0] for tile in tiles] == ["a.tif", "b.png", "c.tif"]
    assert len({tile.sha256 for tile in tiles}) == 3


def test_a_tile_is_named_by_its_file_without_the_folder(write_raster: WriteRaster, tmp_path: Path) -> None:
    tiles: list[Tile] = imagery_tiles(write_raster("scene.tif", 64, 64), EIGHT_BIT, 64)
    assert tiles[0].name == "scene.tif, row 0, column 0"


def refusal(path: Path, contract: InputContract = EIGHT_BIT) -> str:
    with pytest.raises(SceneError) as caught:
        imagery_tiles(path, contract, 64)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "nowhere.tif does not exist" in refusal(tmp_path / "nowhere.tif")


def test_a_folder_without_imagery_is_refused(tmp_path: Path) -> None:
    assert "no imagery" in refusal(tmp_path)


def test_imagery_of_another_pixel_type_is_refused(write_raster: WriteRaster) -> None:
    assert "uint16" in refusal(write_raster("deep.tif", 64, 64, dtype="uint16"))


def test_imagery_without_a_valid_pixel_is_refused(write_raster: WriteRaster) -> None:
    assert "no valid pixel" in refusal(write_raster("empty.tif", 64, 64, nodata_cols=64))
