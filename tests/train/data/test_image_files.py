"""Training learns from no pixel that a file does not hold, and from none without data."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from declared_rasters import Declared, declared_rasters
from hypothesis import given, settings
from image_forms import CHECKED, FRAMES, cuts, holes, picture, write_form
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from worlds import write_image

from kda_edge.errors import DataError
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.train.cli.train import main
from kda_edge.train.data.band_statistics import band_statistics
from kda_edge.train.data.crops import read_labelled
from kda_edge.train.data.data_file import DataRequest, load_data
from kda_edge.train.data.image_files import MaskRule, read_image, read_is_judged, read_mask
from kda_edge.train.data.unlabelled import load_images

U8 = InputContract()
LEARNED_FROM = [form for form in FRAMES if form != "bmp"]  # of the endings that training knows


@settings(max_examples=80, deadline=None)
@given(declared_rasters())
def test_training_sees_the_same_valid_pixels_as_a_map(declared: Declared) -> None:
    contract = InputContract(pixel_type=declared.dtype, value_range=(0, 255), mean=(0, 0, 0), std=(1, 1, 1))
    with tempfile.TemporaryDirectory() as folder:
        path = declared.write(Path(folder))
        _, valid = read_image(path, contract, declared.chosen)
        _, part = read_image(path, contract, declared.chosen, Window(7, 11, 30, 20))
    np.testing.assert_array_equal(valid, declared.truth()[0])
    np.testing.assert_array_equal(part, valid[11:31, 7:37])


@pytest.mark.parametrize("form", LEARNED_FROM)
def test_an_image_cut_at_any_of_ten_places_is_refused_by_name(tmp_path: Path, form: str) -> None:
    path = write_form(tmp_path, form, picture())
    good = path.read_bytes()
    image, valid = read_image(path, U8, (1, 2, 3))
    assert valid.all()
    assert np.abs(image.astype(int) - picture()).mean() < 12  # JPEG and WebP blur
    for content in cuts(good):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{path.name} ") as caught:
            read_image(path, U8, (1, 2, 3))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [form for form in LEARNED_FROM if form in CHECKED])
def test_an_image_with_check_sums_that_is_overwritten_is_refused(tmp_path: Path, form: str) -> None:
    path = write_form(tmp_path, form, picture())
    good = path.read_bytes()
    for content in holes(good):
        path.write_bytes(content)
        with pytest.raises(DataError, match=path.name):
            read_image(path, U8, (1, 2, 3))


def folder_of(root: Path, form: str) -> Path:
    """Ten images with masks, both of a form, the masks grey."""
    grey = np.repeat((picture()[..., :1] > 99) * np.uint8(255), 3, axis=2)
    for kind, pixels in (("images", picture()), ("masks", grey)):
        (root / kind).mkdir(parents=True)
        path = write_form(root / kind, form, pixels)
        for number in range(10):
            shutil.copy(path, root / kind / f"{number}{path.suffix}")
        path.unlink()
    return root


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("share", [0.98, 0.3])
def test_a_cut_png_is_named_before_training_and_by_statistics(
    tmp_path: Path, kind: str, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_of(tmp_path / "d", "png")
    assert main(["statistics", "--data", str(root)]) == 0
    assert "mean = [" in capsys.readouterr().out
    for number in range(10):
        path = root / kind / f"{number}.png"
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match="it ends before its last chunk"):
        load_data(DataRequest(root, seed=0))
    assert main(["statistics", "--data", str(root)]) == 1
    error = capsys.readouterr().err
    assert "it ends before its last chunk" in error
    assert f"{kind}/" in error
    assert error.count("\n") == 1


def test_pixels_that_are_damaged_later_stop_whatever_reads_them(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "d", "tiff deflate")
    data = load_data(DataRequest(root, seed=0))
    sample = data.samples["train"][0]
    content = bytearray(sample.image.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    sample.image.write_bytes(content)
    words = rf"{sample.image.name} is damaged: its pixels can't be read \(.*\); copy it again from its source"
    with pytest.raises(DataError, match=words):
        read_labelled(sample, U8, sample.window_ltrb)
    with pytest.raises(DataError, match=words):
        band_statistics(data.samples["train"], U8)


def test_a_damaged_mask_of_landslides_or_of_valid_pixels_is_refused(tmp_path: Path) -> None:
    path = write_form(tmp_path, "png", np.repeat((picture()[..., :1] > 99) * np.uint8(255), 3, axis=2))
    assert set(np.unique(read_mask(path, MaskRule()))) == {0, 1}
    assert read_is_judged(path).shape == (150, 210)
    good = path.read_bytes()
    for content in [*cuts(good), *holes(good)]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"form\.png"):
            read_mask(path, MaskRule())
        with pytest.raises(DataError, match=r"form\.png"):
            read_is_judged(path)


def test_an_alpha_band_is_not_learned_from_but_says_where_there_is_data(tmp_path: Path) -> None:
    image = np.dstack([picture(), np.full((150, 210), 90, np.uint8), np.full((150, 210), 255, np.uint8)])
    image[:50, :, 4] = 0
    path = write_image(tmp_path / "d" / "s.tif", image, photometric="rgb")
    with open_raster(path, "r+") as dataset:
        dataset.colorinterp = [*dataset.colorinterp[:3], ColorInterp.undefined, ColorInterp.alpha]
    np.testing.assert_array_equal(read_image(path, U8, (1, 2, 3))[1], image[..., 4] > 0)
    np.testing.assert_array_equal(read_image(path, U8, (4, 2, 1))[1], image[..., 4] > 0)
    with pytest.raises(DataError, match=r"^band 5 of .*s\.tif is alpha, .*; set `bands` of its source$"):
        read_image(path, U8, (1, 2, 5))


def test_images_whose_numbers_mean_different_things_are_not_learned_from_together(tmp_path: Path) -> None:
    """Sentinel-2 before and after processing baseline 04.00."""
    for number in range(3):
        write_image(tmp_path / "d" / f"{number}.tif", picture())
    assert len(load_images(DataRequest(tmp_path / "d", seed=0)).samples["train"]) == 3
    for number in range(3):
        with open_raster(tmp_path / "d" / f"{number}.tif", "r+") as dataset:
            dataset.offsets = (-1000,) * 3
        if number < 2:
            with pytest.raises(DataError, match=r"declares scale and offset 1, -?\d+, .*\.tif 1, -?\d+; the numbers"):
                load_images(DataRequest(tmp_path / "d", seed=0))
    assert len(load_images(DataRequest(tmp_path / "d", seed=0)).samples["train"]) == 3


def test_a_large_jpeg_is_looked_at_once_and_not_at_every_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    path = tmp_path / "s.jpg"
    cv2.imwrite(str(path), picture())
    from kda_edge.rasters import whole_rasters

    honest = whole_rasters.jpeg_fault
    monkeypatch.setattr(whole_rasters, "jpeg_fault", lambda content: looked.append(1) or honest(content))
    for _ in range(3):
        read_image(path, U8, (1, 2, 3))
    assert looked == [1]
