from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from kda_edge.errors import EngineError, KdaEdgeError, OutputError, SceneError, UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime import Prediction, SceneOptions, SceneResult, Segmenter
from kda_edge.runtime.geo.gdal import open_raster


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / np.float32(255)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Segmenter:
    return Segmenter(identity, make_manifest())


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (31, 33), (32, 32), (100, 70)], ids=str)
def test_an_image_of_any_size_is_predicted(segmenter: Segmenter, size_hw: tuple[int, int]) -> None:
    """Tiling rule 5."""
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    with segmenter:
        prediction = segmenter.predict(image)
    assert isinstance(prediction, Prediction)
    assert prediction.probability.dtype == np.float32
    assert prediction.mask.dtype == np.uint8
    np.testing.assert_allclose(prediction.probability, image[..., 0] / 255, atol=1e-6)
    np.testing.assert_array_equal(prediction.mask, prediction.probability >= 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.mask = image[..., 0]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4), np.uint8), "4 x 4"),
        (np.zeros((4, 4, 4), np.uint8), "4 x 4 x 4"),
        (np.zeros((0, 4, 3), np.uint8), "0 x 4 x 3"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        ([[[1, 2, 3]]], "list"),
        (7, "a number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_image_that_the_model_does_not_take_is_refused(segmenter: Segmenter, image: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        segmenter.predict(image)
    assert isinstance(caught.value, ValueError)


def test_float_images_are_clipped_to_the_declared_range_and_holes_are_refused(
    make_manifest: Callable[..., Manifest],
) -> None:
    segmenter = Segmenter(lambda tiles: tiles[:, :1] / 2, make_manifest(pixel_type="float32", value_range=(0, 2)))
    image = np.full((5, 5, 3), 9, np.float32)
    assert (segmenter.predict(image).probability == 1).all()
    image[2, 2, 1] = np.nan
    with pytest.raises(UsageError, match="NaN"):
        segmenter.predict(image)


def test_an_image_with_a_failed_tile_has_no_prediction(make_manifest: Callable[..., Manifest]) -> None:
    """Tiling rule 19: there is no qa band here, so there is no answer either."""

    def engine(tiles: np.ndarray) -> np.ndarray:
        if (tiles == 13).any():
            raise RuntimeError("out of memory")
        return identity(tiles)

    image = np.full((100, 100, 3), 50, np.uint8)
    image[0, 0] = 13
    with pytest.raises(EngineError, match=r"1 of 16 tiles \(RuntimeError: out of memory\)"):
        Segmenter(engine, make_manifest()).predict(image)


def test_a_closed_segmenter_says_so(segmenter: Segmenter, scene: Any) -> None:
    segmenter.close()
    for call in (lambda: segmenter.predict(np.zeros((4, 4, 3), np.uint8)), lambda: segmenter.predict_scene(scene.path)):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_a_scene_becomes_three_files_beside_it_and_nothing_is_printed(
    segmenter: Segmenter, scene: Any, leftovers: Callable[[], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    before = scene.path.read_bytes()
    calls: list[tuple[int, int]] = []
    result = segmenter.predict_scene(str(scene.path), progress=lambda done, total: calls.append((done, total)))
    assert leftovers() == ["scene_landslide.geojson", "scene_landslide.png", "scene_landslide.tif"]
    assert scene.path.read_bytes() == before
    assert calls[-1] == (result.tiles, result.tiles)
    assert capfd.readouterr() == ("", "")

    assert isinstance(result, SceneResult)
    landslide = scene.valid & (scene.image[..., 0] / 255 >= 0.5)
    assert (result.height_px, result.width_px, result.valid_px) == (70, 90, 70 * 70)
    assert result.landslide_px == landslide.sum()
    collection = json.loads(result.polygons_path.read_text())
    assert len(collection["features"]) == result.polygons > 0
    assert result.area_m2 == pytest.approx(result.landslide_px * 0.25, rel=2e-3)  # UTM's own scale
    assert result.failed_tiles == 0
    assert result.notes == ()
    assert result.seconds > 0


def test_outputs_go_to_a_folder_that_is_made_for_them_and_replace_older_ones(
    segmenter: Segmenter, scene: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "maps"
    for _ in range(2):
        result = segmenter.predict_scene(scene.path, folder)
    assert {path.name for path in folder.iterdir()} == {f"scene_landslide.{kind}" for kind in ("tif", "geojson", "png")}
    assert result.map_path == folder / "scene_landslide.tif"


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size_hw=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    mask=st.sampled_from(["none", "nodata", "alpha", "internal"]),
    crs=st.sampled_from(["EPSG:32647", None]),
    overlap_px=st.sampled_from([None, 0, 20]),
    seed=st.integers(0, 99),
)
def test_models_on_disk_map_generated_scenes_as_the_engines_in_memory_do(
    tmp_path: Path,
    make_model: Callable[..., Path],
    scene_at: Callable[..., Any],
    size_hw: tuple[int, int],
    mask: str,
    crs: str | None,
    overlap_px: int | None,
    seed: int,
) -> None:
    """The constant and the identity engine through ONNX Runtime, files and all."""
    rng = np.random.default_rng(seed)
    image = rng.integers(1, 256, (*size_hw, 3), np.uint8)
    valid = np.ones(size_hw, bool) if mask == "none" else rng.random(size_hw) < 0.7
    path = scene_at(tmp_path / "s.tif", image, valid=valid, mask=mask, crs=crs).path
    for scale, offset in ((0.0, 0.8), (1 / 255, 0.0)):
        with Segmenter.open(make_model(scale, offset)) as segmenter:
            options = SceneOptions(overlap_px=overlap_px, overwrite=True)
            result = segmenter.predict_scene(path, tmp_path / "out", options)
        expected = np.rint((image[..., 0] * np.float32(scale) + np.float32(offset)) * np.float32(254))
        with open_raster(result.map_path) as landslides:
            np.testing.assert_array_equal(landslides.read(2), np.where(valid, expected, 255))
            np.testing.assert_array_equal(landslides.dataset_mask() > 0, valid)
        features = json.loads(result.polygons_path.read_text())["features"]
        assert sum(feature["properties"]["area_px"] for feature in features) == result.landslide_px


def test_another_pixel_type_is_mapped_by_its_declared_range(
    segmenter: Segmenter, tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    """Tiling rule 8."""
    image = np.random.default_rng(0).integers(0, 12000, (40, 40, 3), np.uint16)
    path = scene_at(tmp_path / "s.tif", image).path
    with pytest.raises(SceneError, match="--value-range"):
        segmenter.predict_scene(path)
    result = segmenter.predict_scene(path, options=SceneOptions(value_range=(1000, 10000)))
    expected = (np.clip(image[..., 0], 1000, 10000) - 1000.0) / 9000
    with open_raster(result.map_path) as landslides:
        assert np.abs(landslides.read(2) - expected * 254).max() <= 0.501


def test_a_scene_without_a_crs_says_where_its_polygons_lie(
    segmenter: Segmenter, tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    path = scene_at(tmp_path / "s.tif", np.full((40, 40, 3), 255, np.uint8), crs=None, transform=None).path
    result = segmenter.predict_scene(path, options=SceneOptions(min_area=5))
    assert result.area_m2 is None
    assert result.polygons == 1
    assert any("pixel coordinates" in note for note in result.notes)
    assert any("least area 5 was counted in pixels" in note for note in result.notes)
    assert not any("least area" in note for note in segmenter.predict_scene(path).notes)


@pytest.mark.parametrize(
    "crs",
    [
        'LOCAL_CS["site grid",UNIT["metre",1]]',
        'PROJCS["Moon",GEOGCS["Moon",DATUM["Moon",SPHEROID["Moon",1737400,0]],PRIMEM["Meridian",0],'
        'UNIT["degree",0.0174532925199433]],PROJECTION["Equirectangular"],UNIT["metre",1]]',
    ],
    ids=["site", "moon"],
)
def test_a_scene_in_metres_without_longitude_and_latitude_has_areas_in_these_and_says_so(
    segmenter: Segmenter, tmp_path: Path, scene_at: Callable[..., Any], crs: str
) -> None:
    path = scene_at(tmp_path / "s.tif", np.full((40, 40, 3), 255, np.uint8), crs=crs).path
    result = segmenter.predict_scene(path, options=SceneOptions(min_area=399))
    assert (result.polygons, result.area_m2) == (1, 400)  # of half a metre a pixel
    assert (
        "the scene's CRS has no way to longitude and latitude there, so its polygons are in pixel coordinates; "
        "areas are in its CRS's own metres" in result.notes
    )
    assert segmenter.predict_scene(path, options=SceneOptions(min_area=401)).polygons == 0


def test_small_polygons_are_left_out_but_not_their_pixels(
    segmenter: Segmenter, tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[2:4, 2:4] = image[20:30, 20:30] = 255
    path = scene_at(tmp_path / "s.tif", image).path  # pixels of a quarter square metre
    assert segmenter.predict_scene(path).polygons == 2
    result = segmenter.predict_scene(path, options=SceneOptions(min_area=10))
    assert (result.polygons, result.landslide_px) == (1, 104)


def test_polygons_of_an_earlier_map_in_another_format_are_named(segmenter: Segmenter, scene: Any) -> None:
    assert segmenter.predict_scene(scene.path).notes == ()
    result = segmenter.predict_scene(scene.path, options=SceneOptions(polygons="gpkg"))
    assert result.polygons_path.suffix == ".gpkg"
    assert result.notes == ("scene_landslide.geojson is of an earlier map; remove it",)


def test_what_a_person_should_know_is_noted(
    make_manifest: Callable[..., Manifest], tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    image = np.full((100, 100, 3), 50, np.uint8)
    image[50, 50] = 13

    def engine(tiles: np.ndarray) -> np.ndarray:
        if (tiles == 13).any():
            raise RuntimeError("out of memory")
        return identity(tiles)

    path = scene_at(tmp_path / "s.tif", image, transform=Affine(3, 0, 5e5, 0, -3, 3e6)).path
    result = Segmenter(engine, make_manifest(gsd_m=(0.2, 1.0))).predict_scene(path, options=SceneOptions(any_gsd=True))
    assert result.failed_tiles > 0
    assert any("tiles failed (RuntimeError: out of memory)" in note and "qa bit 8" in note for note in result.notes)
    assert any("a pixel is 3 m and the model learned from 0.2 to 1 m" in note for note in result.notes)
    assert result.map_path.exists()

    empty = scene_at(tmp_path / "e.tif", image, valid=np.zeros((100, 100), bool), mask="internal").path
    assert "the scene has no valid pixel" in Segmenter(engine, make_manifest()).predict_scene(empty).notes


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"min_area": -1}, UsageError),
        ({"min_area": float("nan")}, UsageError),
        ({"overlap_px": 32}, UsageError),
        ({"overlap_px": -1}, UsageError),
        ({"value_range": (5, 5)}, UsageError),
        ({"bands": (1, 2, 4)}, SceneError),
    ],
    ids=str,
)
def test_arguments_that_can_not_be_right_leave_nothing_behind(
    segmenter: Segmenter,
    scene: Any,
    leftovers: Callable[[], list[str]],
    options: dict[str, Any],
    kind: type[KdaEdgeError],
) -> None:
    with pytest.raises(kind) as caught:
        segmenter.predict_scene(scene.path, options=SceneOptions(**options))
    assert "\n" not in str(caught.value)
    assert leftovers() == []


def test_a_model_that_answers_nothing_leaves_nothing_behind(
    make_manifest: Callable[..., Manifest], scene: Any, leftovers: Callable[[], list[str]]
) -> None:
    with pytest.raises(EngineError):
        Segmenter(lambda tiles: tiles * np.nan, make_manifest()).predict_scene(scene.path)
    assert leftovers() == []


def test_the_scene_itself_is_never_replaced(segmenter: Segmenter, scene: Any, tmp_path: Path) -> None:
    """Even where the scene's file bears the name of its own map."""
    before = scene.path.read_bytes()
    real = scene.path.rename(tmp_path / "view_landslide.tif")
    link = tmp_path / "view.tif"
    link.symlink_to(real)
    with pytest.raises(UsageError, match="would replace the scene"):
        segmenter.predict_scene(link)
    assert real.read_bytes() == before


def test_a_folder_in_the_place_of_an_output_is_an_error_of_the_output(
    segmenter: Segmenter, scene: Any, tmp_path: Path
) -> None:
    (tmp_path / "scene_landslide.png").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        segmenter.predict_scene(scene.path)
