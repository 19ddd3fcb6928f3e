from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import Affine

from kda_edge.errors import EngineError
from kda_edge.manifest import Manifest
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.map_format import (
    EDGE_PX,
    FAILED_TILE,
    NEAR_NODATA,
    NODATA,
    SCENE_EDGE,
    class_bytes,
    probability_bytes,
)
from kda_edge.runtime.mapping.mapped_rows import mapped_rows
from kda_edge.runtime.mapping.value_range import with_values_mapped
from kda_edge.runtime.outputs.assemble import Tally, map_tags
from kda_edge.runtime.outputs.map_geotiff import map_writer
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.predict import predict_array
from kda_edge.tiling.tile_grid import TileGrid

TOPS = {"uint8": 255, "uint16": 65535, "int16": 32767, "float32": 1}
TRANSFORMS = [
    Affine(0.49986221540957215, 0, 469205.3391910029, 0, -0.5000798722678572, 3446192.3136770236),
    Affine(1 / 3, 0, 100.1, 0, 1 / 7, 200.2),
    Affine(0.4, 0.3, 100, 0.3, -0.4, 200),
    Affine(0.5, 0, 100, 0, 0.5, 200),  # south-up
    Affine(-0.5, 0, 100, 0, -0.7, 200),  # mirrored
    None,
]


@dataclass(frozen=True)
class World:
    """A GeoTIFF to map: what it holds follows from these alone."""

    height: int
    width: int
    tile: int
    overlap: int
    dtype: str
    mask: str
    layout: dict[str, Any]
    transform: Affine | None
    crs: str | None
    seed: int

    @property
    def top(self) -> int:
        return TOPS[self.dtype]

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        image = (rng.uniform(0.05, 1, (self.height, self.width, 3)) * self.top).astype(self.dtype)
        col, row = np.meshgrid(np.arange(self.width), np.arange(self.height))
        kinds = (rng.random(col.shape) < 0.8, col * 2 + row > self.width, (col - 9) ** 2 + (row - 5) ** 2 > 50)
        return image, np.ones_like(col, bool) if self.mask == "none" else kinds[self.seed % 3]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    tile = draw(st.sampled_from([32, 64]))
    side = st.one_of(st.integers(1, 150), st.sampled_from([1, tile - 1, tile, tile + 1, 2 * tile + 1]))
    dtype = draw(st.sampled_from(sorted(TOPS)))
    masks = ["none", "nodata", "internal", "sidecar", "nan"] if dtype == "float32" else ["none", "nodata", "internal"]
    if dtype in ("uint8", "uint16"):
        masks.append("alpha")
    layouts: list[dict[str, Any]] = [
        {},
        {"blockysize": 1, "interleave": "band"},
        {"blockysize": 13, "compress": "lzw"},
        {"tiled": True, "blockxsize": 16, "blockysize": 48, "compress": "deflate"},
        {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band"},
    ]
    return World(
        draw(side),
        draw(side),
        tile,
        draw(st.integers(0, tile * 3 // 4)),
        dtype,
        draw(st.sampled_from(masks)),
        draw(st.sampled_from(layouts)),
        draw(st.sampled_from(TRANSFORMS)),
        draw(st.sampled_from(["EPSG:32647", "EPSG:4326", None])),
        draw(st.integers(0, 999)),
    )


@pytest.fixture(scope="module")
def map_of(
    tmp_path_factory: pytest.TempPathFactory,
    scene_at: Callable[..., Any],
    make_manifest: Callable[..., Manifest],
) -> Callable[..., tuple[Tally, Any, Any]]:
    """Write a world's scene, map it, and return the summary and the open map beside the open scene."""
    folder = tmp_path_factory.mktemp("worlds")
    numbers = itertools.count()

    def make(world: World, engine: Callable[[np.ndarray], np.ndarray], threshold: float = 0.5) -> Any:
        image, valid = world.pixels()
        path = folder / f"{next(numbers) % 4}.tif"
        path.with_name(path.name + ".msk").unlink(missing_ok=True)
        scene_at(path, image, valid=valid, mask=world.mask, crs=world.crs, transform=world.transform, **world.layout)
        manifest = make_manifest(
            tile_px=world.tile, threshold=threshold, pixel_type=world.dtype, value_range=(0, world.top)
        )
        map_path = path.with_name(path.name + ".map")
        with gdal_session(), open_scene(path, manifest.input) as scene:
            mapped = with_values_mapped(engine, manifest.input, None)
            opened = partial(open_scene, path, manifest.input)
            grid = TileGrid(world.height, world.width, world.tile, world.overlap)
            tally = Tally()
            with map_writer(map_path, scene, map_tags(manifest)) as writer:
                for rows in mapped_rows(opened, grid, mapped, manifest, block_hw=scene.block_hw):
                    writer.write(rows.layers)
                    tally.add(rows)
                writer.finish()
        return tally, open_raster(map_path), open_raster(path)

    return make


def constant(tiles: np.ndarray) -> np.ndarray:
    return np.full((len(tiles), 1, *tiles.shape[2:]), 0.8, np.float32)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(world=worlds())
def test_the_constant_engine_maps_its_constant_onto_every_valid_pixel(map_of: Callable[..., Any], world: World) -> None:
    """Tiling rules 1 to 5, 9 to 12, 14, 17: and CRS, transform and valid mask are the scene's, bit for bit."""
    summary, landslides, scene = map_of(world, constant)
    _, valid = world.pixels()
    with landslides, scene:
        classes, probability, qa = landslides.read()
        np.testing.assert_array_equal(classes, np.where(valid, 1, 255))
        np.testing.assert_array_equal(probability, np.where(valid, round(0.8 * 254), 255))
        np.testing.assert_array_equal(qa & NODATA, ~valid)
        assert not (qa & FAILED_TILE).any()
        assert not (qa[~valid] & NEAR_NODATA).any()
        np.testing.assert_array_equal(landslides.dataset_mask() > 0, valid)
        if world.mask != "nan":
            np.testing.assert_array_equal(landslides.dataset_mask() > 0, scene.dataset_mask() > 0)
        assert tuple(landslides.transform) == tuple(scene.transform)
        assert landslides.crs == scene.crs
        assert (landslides.crs or CRS()).to_wkt() == (scene.crs or CRS()).to_wkt()
    assert summary.counts.landslide_px == summary.counts.valid_px == valid.sum()
    assert summary.counts.unknown_px == summary.failed_tiles == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(world=worlds())
def test_the_identity_engine_maps_the_first_band(map_of: Callable[..., Any], world: World) -> None:
    """Tiling rules 1 to 9: through file, tiles, blend and file again."""
    _, landslides, scene = map_of(world, lambda tiles: tiles[:, :1] / np.float32(world.top), threshold=0.3)
    image, valid = world.pixels()
    share = image[..., 0].astype(np.float32) / np.float32(world.top)
    with landslides, scene:
        classes, probability, _ = landslides.read()
    np.testing.assert_array_equal(probability, np.where(valid, np.rint(share * np.float32(254)), 255))
    np.testing.assert_array_equal(classes, np.where(valid, share >= np.float32(0.3), 255))


WORLD = World(150, 130, 32, 8, "uint8", "nodata", {}, TRANSFORMS[0], "EPSG:32647", 1)


def test_a_failed_tile_is_unknown_where_it_alone_lies_and_marked_wherever_it_lies(map_of: Callable[..., Any]) -> None:
    """Tiling rule 19: 255 in class and probability, masked, qa bit 8; never background."""
    tiles_seen = itertools.count()

    def engine(tiles: np.ndarray) -> np.ndarray:
        if next(tiles_seen) in (8, 9):  # one tile, and its second try
            raise RuntimeError("out of memory")
        return constant(tiles)

    world = World(150, 130, 32, 8, "uint8", "none", {}, TRANSFORMS[0], "EPSG:32647", 1)
    summary, landslides, scene = map_of(world, engine)
    with landslides, scene:
        classes, probability, qa = landslides.read()
        mask = landslides.dataset_mask() > 0
    touched, alone = np.zeros((150, 130), bool), np.zeros((150, 130), bool)
    touched[24:56, 48:80] = True  # the ninth of six tiles a row, the first row's tiles at 0 24 48 72 96 98
    alone[32:48, 56:72] = True
    np.testing.assert_array_equal((qa & FAILED_TILE) > 0, touched)
    np.testing.assert_array_equal(classes == 255, alone)
    np.testing.assert_array_equal(probability == 255, alone)
    np.testing.assert_array_equal(mask, ~alone)
    assert (classes[~alone] == 1).all()
    assert (summary.failed_tiles, summary.counts.unknown_px, summary.counts.valid_px) == (1, 256, 150 * 130)
    assert summary.first_failure is not None
    assert "out of memory" in summary.first_failure.reason


def test_a_model_that_answers_nothing_is_an_error(map_of: Callable[..., Any]) -> None:
    with pytest.raises(EngineError, match="all"):
        map_of(WORLD, lambda tiles: tiles * np.nan)


def test_the_class_is_decided_on_the_probability_itself_not_on_its_byte() -> None:
    probability = np.array([[0.4999, 0.5, 0.50001, np.nan, 0, 1, 0.501 / 254]], np.float32)
    assert class_bytes(probability, 0.5).tolist() == [[0, 1, 1, 255, 0, 1, 0]]
    assert probability_bytes(probability).tolist() == [[127, 127, 127, 255, 0, 254, 1]]


def test_the_map_has_a_profile_of_its_own(map_of: Callable[..., Any]) -> None:
    """Tiling rule 14: nothing of the scene's JPEG, colours, strips or nodata is carried over."""
    layout = {"compress": "jpeg", "photometric": "ycbcr", "blockysize": 16}
    world = World(300, 270, 64, 16, "uint8", "internal", layout, TRANSFORMS[0], "EPSG:32647", 1)
    _, landslides, scene = map_of(world, constant)
    with landslides, scene:
        assert landslides.driver == "GTiff"
        assert landslides.profile["compress"] == "deflate"
        assert landslides.profile["interleave"] == "band"
        assert landslides.block_shapes == [(256, 256)] * 3
        assert landslides.dtypes == ("uint8",) * 3
        assert landslides.nodatavals == (255,) * 3
        assert landslides.descriptions == ("class", "probability", "qa")
        assert landslides.colorinterp[0] == ColorInterp.gray
        assert landslides.mask_flag_enums == ([MaskFlags.per_dataset],) * 3
        assert not Path(landslides.name + ".msk").exists()


def test_the_map_names_the_model_that_made_it(map_of: Callable[..., Any]) -> None:
    _, landslides, scene = map_of(WORLD, constant, 0.37)
    with landslides, scene:
        tags = landslides.tags()
    assert tags["model"].startswith("tiny-test abab")
    assert tags["checkpoint_sha256"] == "ab" * 32
    assert float(tags["threshold"]) == 0.37
    assert tags["TIFFTAG_SOFTWARE"].startswith("kda-edge ")


@pytest.mark.parametrize(("height", "width", "levels"), [(512, 40, []), (40, 520, [2, 4]), (704, 1104, [2, 4, 8])])
def test_overviews_of_every_band_and_of_the_mask_are_every_nth_pixel(
    map_of: Callable[..., Any], height: int, width: int, levels: list[int]
) -> None:
    """Tiling rule 10: labels are picked, never averaged."""
    world = World(height, width, 64, 16, "uint8", "nodata", {}, TRANSFORMS[0], "EPSG:32647", 1)
    _, landslides, scene = map_of(world, lambda tiles: tiles[:, :1] / np.float32(255))
    with landslides, scene:
        assert [landslides.overviews(band) for band in (1, 2, 3)] == [levels] * 3
        whole, mask = landslides.read(), landslides.dataset_mask()
    for level, factor in enumerate(levels):
        with open_raster(Path(landslides.name), overview_level=level) as small:
            rows, cols = (np.arange(n) * factor for n in small.shape)
            np.testing.assert_array_equal(small.read(), whole[:, rows[:, None], cols])
            np.testing.assert_array_equal(small.dataset_mask(), mask[rows[:, None], cols])


def test_overviews_of_odd_sizes_agree_with_their_mask(map_of: Callable[..., Any]) -> None:
    world = World(701, 513, 64, 16, "uint8", "nodata", {}, TRANSFORMS[0], "EPSG:32647", 1)
    _, landslides, scene = map_of(world, lambda tiles: tiles[:, :1] / np.float32(255))
    landslides.close()
    scene.close()
    for level in (0, 1):
        with open_raster(Path(landslides.name), overview_level=level) as small:
            classes = small.read(1)
            assert set(np.unique(classes)) == {0, 1, 255}
            np.testing.assert_array_equal(small.dataset_mask() > 0, classes != 255)


def test_each_block_is_written_once_and_equal_runs_give_equal_bytes(map_of: Callable[..., Any]) -> None:
    """Tiling rule 21: the file is no larger than its blocks, though bands of 17 rows don't fit blocks of 256."""
    world = World(500, 300, 32, 15, "uint8", "nodata", {}, TRANSFORMS[0], "EPSG:32647", 1)
    contents = []
    for _ in range(2):
        _, landslides, scene = map_of(world, lambda tiles: tiles[:, :1] / np.float32(255))
        with landslides, scene:
            blocks = [
                int(landslides.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", band))
                for band in (1, 2, 3)
                for row in (0, 1)
                for col in (0, 1)
            ]
        contents.append(Path(landslides.name).read_bytes())
    assert contents[0] == contents[1]
    assert len(contents[0]) < sum(blocks) + 12_000  # the mask's blocks and the directories


def test_the_map_of_tiles_is_that_of_the_whole_image(map_of: Callable[..., Any]) -> None:
    """The file path and the in-memory path are one."""
    _, landslides, scene = map_of(WORLD, position)
    image, valid = WORLD.pixels()
    image[~valid] = 0
    probability, _ = predict_array(image, valid, position, WORLD.tile, WORLD.overlap)
    with landslides, scene:
        np.testing.assert_array_equal(landslides.read(2), probability_bytes(probability))
        edge = landslides.read(3) & SCENE_EDGE
    assert (edge[EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX] == 0).all()
    assert np.count_nonzero(edge) == 150 * 130 - (150 - 2 * EDGE_PX) * (130 - 2 * EDGE_PX)


def position(tiles: np.ndarray) -> np.ndarray:
    """Answer by place and content, so that no two tiles agree."""
    ramp = np.add.outer(np.arange(tiles.shape[2]), np.arange(tiles.shape[3])) / (2 * tiles.shape[2])
    return ((np.abs(np.sin(tiles.sum(axis=1, keepdims=True))) + ramp) / 2).astype(np.float32)
