"""A scene read for a quicklook: which pixels, from where in the file, and where on Earth they lie."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import Affine

from kda_edge.errors import SceneError
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.scenes.quicklook import FROM_MEANS, FROM_OVERVIEWS
from kda_edge.runtime.scenes.scene import Scene, open_scene
from kda_edge.tiling.pixels import Pixels

TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
ANY = InputContract()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def with_overviews(path: Path, factors: tuple[int, ...] = (2, 4), how: Resampling = Resampling.average) -> Path:
    with open_raster(path, "r+") as dataset:
        dataset.build_overviews(factors, how)
    return path


def looked_at(path: Path, contract: InputContract = ANY, **options: Any) -> tuple[Scene, Pixels]:
    """A scene as a quicklook has it, and all of its pixels, read in windows that are cut anyhow."""
    with gdal_session(), open_scene(path, contract, quicklook=True, **options) as scene:
        whole = scene.read(0, scene.height_px, 0, scene.width_px)
        middle = (scene.height_px // 3, scene.height_px, scene.width_px // 3, scene.width_px)
        np.testing.assert_array_equal(scene.read(*middle).image, whole.image[middle[0] :, middle[2] :])
        return scene, whole


def means(image: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of 4 x 4 px, one after the other, and whether more than half of them is valid."""
    height, width = (-(-side // 4) for side in valid.shape)
    found, enough = np.zeros((height, width, 3)), np.zeros((height, width), bool)
    for row in range(height):
        for col in range(width):
            here = np.s_[4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
            enough[row, col] = valid[here].mean() > 0.5
            if enough[row, col]:
                found[row, col] = image[here][valid[here]].astype(float).mean(axis=0)
    return np.rint(found).astype(image.dtype), enough


@pytest.mark.parametrize("mask", ["none", "nodata", "alpha", "internal", "sidecar"])
@pytest.mark.parametrize("shape", [(128, 192), (131, 194), (3, 2)], ids=str)
def test_a_pixel_is_the_mean_of_16_and_lies_on_them(
    tmp_path: Path, scene_at: Callable[..., Any], mask: str, shape: tuple[int, int]
) -> None:
    valid = np.ones(shape, bool) if mask == "none" else np.random.default_rng(1).random(shape) < 0.6
    file = scene_at(tmp_path / "s.tif", noise(*shape), valid=valid, mask=mask, **TILED)
    scene, (image, found, lost) = looked_at(file.path)
    expected, enough = means(file.image, valid)
    np.testing.assert_array_equal(found, enough)
    np.testing.assert_array_equal(image[enough], expected[enough])
    assert lost is None
    with open_raster(file.path) as dataset:
        a, b, c, d, e, f = dataset.transform[:6]
    assert scene.transform[:6] == (a * 4, b * 4, c, d * 4, e * 4, f)
    assert scene.quicklook_from == FROM_MEANS
    right, bottom = scene.transform @ (scene.width_px, scene.height_px)
    assert 0 <= right - (c + shape[1] * a) < 4 * a
    assert 0 <= (f + shape[0] * e) - bottom < 4 * -e


def test_means_are_those_that_gdal_makes(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    """Of floats, which GDAL does not round."""
    file = scene_at(tmp_path / "s.tif", noise(128, 192), **TILED)
    floats = scene_at(tmp_path / "f.tif", file.image.astype(np.float32)).path
    with rasterio.open(floats) as dataset:
        expected = dataset.read(out_shape=(3, 32, 48), resampling=Resampling.average)
    np.testing.assert_array_equal(looked_at(file.path)[1].image, np.rint(expected).transpose(1, 2, 0))


@pytest.mark.parametrize("mask", ["none", "nodata"])
@pytest.mark.parametrize("how", [Resampling.nearest, Resampling.cubic])
@pytest.mark.parametrize("shape", [(256, 320), (515, 390)], ids=str)
def test_a_geotiffs_own_overview_is_read_instead(
    tmp_path: Path, scene_at: Callable[..., Any], mask: str, how: Resampling, shape: tuple[int, int]
) -> None:
    valid = np.ones(shape, bool)
    valid[:90] = mask == "none"
    path = with_overviews(scene_at(tmp_path / "s.tif", noise(*shape), valid=valid, mask=mask, **TILED).path, how=how)
    scene, (image, found, lost) = looked_at(path)
    small = (-(-shape[0] // 4), -(-shape[1] // 4))
    with rasterio.open(path, OVERVIEW_LEVEL=1) as overview:
        assert overview.shape == small
        np.testing.assert_array_equal(image, overview.read().transpose(1, 2, 0))
        np.testing.assert_array_equal(found, overview.dataset_mask() > 0)
    assert lost is None
    assert scene.quicklook_from == FROM_OVERVIEWS
    assert scene.transform[:6] == (2.0, 0, 469205.25, 0, -2.0, 3446192.5)
    assert (scene.height_px, scene.width_px, scene.gsd_m) == (*small, pytest.approx(2.0, rel=1e-3))


def test_the_columns_of_an_overview_are_four_of_the_scene_to_the_last(
    tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    """Not the width over the overview's: 1001 columns are 250 pixels and a quarter."""
    image = np.broadcast_to((np.arange(1001) // 4).astype(np.uint8)[None, :, None], (64, 1001, 3)).copy()
    path = with_overviews(scene_at(tmp_path / "s.tif", image, **TILED).path)
    scene, pixels = looked_at(path)
    assert scene.quicklook_from == FROM_OVERVIEWS
    np.testing.assert_array_equal(pixels.image[0, :, 0], np.arange(251))


def hidden_by_alpha(path: Path, scene_at: Callable[..., Any]) -> None:
    valid = np.ones((256, 320), bool)
    valid[:90] = False
    with_overviews(scene_at(path, noise(256, 320), valid=valid, mask="alpha", **TILED).path)


def hidden_by_alpha_though_it_has_a_nodata_value(path: Path, scene_at: Callable[..., Any]) -> None:
    valid = np.ones((256, 320), bool)
    valid[:90] = False
    with_overviews(scene_at(path, noise(256, 320), valid=valid, mask="alpha", nodata=7, **TILED).path)


def masked_after_its_overviews(path: Path, scene_at: Callable[..., Any]) -> None:
    with_overviews(scene_at(path, noise(256, 320), **TILED).path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), open_raster(path, "r+") as dataset:
        dataset.write_mask(np.repeat([0, 255], [90, 166])[:, None].repeat(320, axis=1).astype(np.uint8))


def without_some_blocks(path: Path, scene_at: Callable[..., Any]) -> None:
    image = noise(256, 320)
    image[:64] = 0
    with_overviews(scene_at(path, image, sparse_ok=True, **TILED).path)


def with_overviews_beside(path: Path, scene_at: Callable[..., Any]) -> None:
    """Left behind by an earlier scene of that name."""
    scene_at(path, noise(256, 320, seed=9), **TILED)
    with rasterio.Env(TIFF_USE_OVR=True):
        with_overviews(path)
    shutil.move(f"{path}.ovr", f"{path}.kept")
    scene_at(path, noise(256, 320), **TILED)
    shutil.move(f"{path}.kept", f"{path}.ovr")


def with_other_overviews(path: Path, scene_at: Callable[..., Any]) -> None:
    with_overviews(scene_at(path, noise(256, 320), **TILED).path, (2, 8))


@pytest.mark.parametrize(
    "make",
    [
        hidden_by_alpha,
        hidden_by_alpha_though_it_has_a_nodata_value,
        masked_after_its_overviews,
        without_some_blocks,
        with_overviews_beside,
        with_other_overviews,
    ],
)
def test_overviews_that_may_not_tell_the_truth_are_left_alone(
    tmp_path: Path, scene_at: Callable[..., Any], make: Callable[..., None]
) -> None:
    path = tmp_path / "s.tif"
    make(path, scene_at)
    with open_raster(path) as dataset:
        assert dataset.overviews(1)
    with gdal_session(), open_scene(path, ANY) as full:
        expected, enough = means(*full.read(0, 256, 0, 320)[:2])
    scene, (image, valid, _) = looked_at(path)
    assert scene.quicklook_from == FROM_MEANS
    np.testing.assert_array_equal(valid, enough)
    np.testing.assert_array_equal(image[enough], expected[enough])


@pytest.mark.parametrize("own", [False, True], ids=["means", "overview"])
def test_a_scene_of_no_place_has_a_quicklook_of_no_place(
    tmp_path: Path, scene_at: Callable[..., Any], own: bool
) -> None:
    path = scene_at(tmp_path / "s.tif", noise(256, 320), crs=None, transform=None, **TILED).path
    scene, _ = looked_at(with_overviews(path) if own else path)
    assert (scene.height_px, scene.width_px, scene.factor) == (64, 80, 4.0)
    assert (scene.transform, scene.crs, scene.gsd_m, scene.sides_m) == (None, None, None, None)
    assert scene.quicklook_from == (FROM_OVERVIEWS if own else FROM_MEANS)


@pytest.mark.parametrize(("own_m", "said"), [(0.25, None), (2.0, None), (2.5, "note"), (5.0, "refused"), (0.2, None)])
def test_pixels_four_times_as_long_are_judged_by_what_the_model_learned_from(
    tmp_path: Path, scene_at: Callable[..., Any], own_m: float, said: str | None
) -> None:
    """From 1 to 4 m: 8 m are taken, 10 noted, 20 refused; so are 0.8 m of a scene that is too fine by itself."""
    transform = Affine(own_m, 0, 469205.25, 0, -own_m, 3446192.5)
    path = scene_at(tmp_path / "s.tif", noise(64, 64), transform=transform).path
    contract = InputContract(gsd_m=(1.0, 4.0))
    if said == "refused":
        words = r"a pixel of the quicklook of .* is 20 m .*--resample instead of --quicklook, or .*--any-gsd"
        with pytest.raises(SceneError, match=words):
            looked_at(path, contract)
    scene, _ = looked_at(path, contract, any_gsd=said == "refused")
    notes = list(scene.notes(np.array([99]), 0))
    assert notes[0].startswith(f"a quicklook at a quarter of the resolution, from {FROM_MEANS}: ")
    assert ["--resample instead of --quicklook" in note for note in notes[1:]] == ([] if said is None else [True])


def test_a_damaged_block_of_an_overview_is_lost_and_the_rest_is_still_the_overview(
    tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    """The file is opened anew after a failed read: at its overview, or all that follows were the scene's corner."""
    path = with_overviews(scene_at(tmp_path / "s.tif", noise(512, 512), **TILED).path, how=Resampling.nearest)
    _, whole = looked_at(path)
    with open_raster(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_0", "TIFF", 1, ovr=1))
    content = bytearray(path.read_bytes())
    content[offset + 900 : offset + 940] = b"\xff" * 40
    path.write_bytes(bytes(content))
    scene, (image, valid, lost) = looked_at(path)
    expected = np.zeros((128, 128), bool)
    expected[:64, 64:] = True
    assert scene.quicklook_from == FROM_OVERVIEWS
    assert lost is not None
    np.testing.assert_array_equal(lost, expected)
    np.testing.assert_array_equal(valid, ~expected)
    np.testing.assert_array_equal(image[~expected], whole.image[~expected])
