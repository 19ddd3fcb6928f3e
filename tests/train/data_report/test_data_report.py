"""The data report counts what is in the files, finds every fault before training, and warns of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from textured_ground import textured_ground
from worlds import scar, write_data_file, write_image

from kda_edge.errors import DataError
from kda_edge.manifest import InputContract
from kda_edge.train.data.data_file import DataRequest
from kda_edge.train.data_report.data_report import DataReport, data_report
from kda_edge.train.data_report.findings import RunPlan

REFLECTANCE = InputContract(pixel_type="float32", value_range=(0, 1), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


def reported(
    place: Path, tmp_path: Path, declared: InputContract | None = None, plan: RunPlan | None = None
) -> DataReport:
    return data_report(DataRequest(place, seed=0, input=declared), root=tmp_path / "cache", plan=plan)[0]


def flip_bytes(path: Path) -> None:
    """Damage a file in its middle; its length stays."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - value for value in content[middle : middle + 64])
    path.write_bytes(bytes(content))


def test_images_landslide_and_values_are_those_of_the_files(tmp_path: Path) -> None:
    rng, rows, masks, images = np.random.default_rng(0), [], {}, {}
    for i in range(12):
        group = "abc"[i % 3]
        images[f"{i:02}"], masks[f"{i:02}"] = scar(rng, 40 + i, 50)
        masks[f"{i:02}"] *= i % 4 != 0
        write_image(tmp_path / "d" / "images" / f"{i:02}.png", images[f"{i:02}"])
        write_image(tmp_path / "d" / "masks" / f"{i:02}.png", masks[f"{i:02}"])
        rows.append(f"{i:02},{group}")
    (tmp_path / "d" / "index.csv").write_text("stem,county\n" + "\n".join(rows) + "\n")
    described = write_data_file(
        tmp_path / "d.toml",
        '[[source]]\nname = "d"\nroot = "d"\nindex = "index.csv"\ngroup = "county"\ntrain = ["a", "b"]\nval = ["c"]\n',
    )
    report = reported(described, tmp_path)
    assert [(part.split, part.name) for part in report.parts] == [
        ("train", "d"),
        ("train", "d/a"),
        ("train", "d/b"),
        ("val", "d"),
    ]
    for part, groups in zip(report.parts, ("ab", "a", "b", "c"), strict=True):
        mine = [masks[row[:2]] for row in rows if row[3:] in groups]
        assert part.images == len(mine)
        assert part.with_landslide == sum(mask.any() for mask in mine)
        assert part.judged_px == sum(mask.size for mask in mine)
        assert part.landslide_share == pytest.approx(sum(mask.sum() for mask in mine) / part.judged_px)
        assert part.gsd_m is None
    (pixels,) = report.pixels
    assert pixels.sizes == {f"50 x {40 + i}": 1 for i in range(12)}
    assert (pixels.pixel_types, pixels.bands, pixels.nodata_share) == ({"uint8": 12}, {"3": 12}, 0.0)
    assert pixels.low == tuple(min(image[..., band].min() for image in images.values()) for band in range(3))
    assert pixels.high == tuple(max(image[..., band].max() for image in images.values()) for band in range(3))
    assert report.errors == ()


def test_a_scene_is_measured_in_its_windows_and_where_it_holds_data(scene: Path, tmp_path: Path) -> None:
    described = write_data_file(
        tmp_path / "d.toml",
        '[[source]]\nname = "o"\nroot = "ortho"\nlayout = "scenes"\nvalid = "valid"\nmask_landslide = [1]\n'
        "windows = { train = [0, 0, 192, 90], val = [0, 100, 192, 160] }\n",
    )
    report = reported(described, tmp_path)
    train, val = report.parts
    assert (train.judged_px, val.judged_px) == (80 * 152, 60 * 152)  # without the nodata columns and invalid rows
    assert train.gsd_m == val.gsd_m == pytest.approx((0.5, 0.5))
    assert report.pixels[0].nodata_share == pytest.approx(40 / 192)


def test_all_damaged_files_are_told_of_at_once_and_before_training(folders: Path, tmp_path: Path) -> None:
    image = textured_ground(0, 300, 300)
    for name in ("s03", "s09"):
        (folders / "images" / f"{name}.png").unlink()
        write_image(folders / "images" / f"{name}.tif", image, compress="deflate")
        write_image(folders / "masks" / f"{name}.png", np.eye(300, dtype=np.uint8))
        flip_bytes(folders / "images" / f"{name}.tif")
    flip_bytes(folders / "masks" / "s11.png")
    report = reported(folders, tmp_path)
    assert len(report.errors) == 3
    assert [name in " ".join(report.errors) for name in ("s03.tif", "s09.tif", "s11.png")] == [True] * 3
    assert sum(part.images for part in report.parts) == 17
    with pytest.raises(DataError, match=r"s\d\d.* \(and 2 more: kda-train check lists them\)$"):
        report.require_learnable()


def _no_landslide(root: Path) -> None:
    for path in (root / "masks").iterdir():
        write_image(path, np.zeros((48 + int(path.stem[1:]), 64 - int(path.stem[1:])), np.uint8))


def _seven_images(root: Path) -> None:
    for path in [*(root / "images").iterdir(), *(root / "masks").iterdir()]:
        if int(path.stem[1:]) >= 7:
            path.unlink()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_no_landslide, "no mask of the train split shows landslide"),
        (_no_landslide, "no mask of the val split (2 images) shows landslide"),
        (_seven_images, "no images are in the val split (7 in all)"),
    ],
)
def test_imagery_that_teaches_or_judges_nothing_is_an_error(
    folders: Path, tmp_path: Path, spoil: Callable[[Path], None], expected: str
) -> None:
    assert reported(folders, tmp_path).errors == ()
    spoil(folders)
    errors = reported(folders, tmp_path).errors
    assert any(expected in error for error in errors)


def test_masks_without_an_image_are_named(folders: Path, tmp_path: Path) -> None:
    write_image(folders / "masks" / "alone.png", np.zeros((5, 5), np.uint8))
    report = reported(folders, tmp_path)
    assert [Path(mask).name for mask in report.orphan_masks] == ["alone.png"]
    assert "1 mask has no image and will not be used: alone.png" in report.warnings


def test_a_batch_larger_than_an_epoch_and_crops_larger_than_images_are_told(folders: Path, tmp_path: Path) -> None:
    told = " ".join(reported(folders, tmp_path, plan=RunPlan(batch=17, crop_px=512)).warnings)
    assert "a batch of 17 is larger than what an epoch has, 16 crops" in told
    assert "16 images of the train split, of 16, are smaller than the crops of 512 px" in told
    told = " ".join(reported(folders, tmp_path, plan=RunPlan(batch=16, crop_px=32)).warnings)
    assert "batch" not in told
    assert "smaller than the crops" not in told


def test_a_group_in_two_splits_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(10):
        image, mask = scar(rng, 32, 32)
        write_image(tmp_path / "CAS" / "Palu" / "img" / f"{i}.tif", image)
        write_image(tmp_path / "CAS" / "Palu" / "mask" / f"{i}.tif", mask)
    warnings = reported(tmp_path / "CAS", tmp_path).warnings
    assert any("1 group is in several splits: CAS/Palu (8 in train, 1 in val, 1 in test)" in one for one in warnings)


def test_pixels_that_contradict_the_declaration_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(10):
        image, mask = scar(rng, 40, 40)
        pixels = (image / 255).astype(np.float32)
        if i == 2:
            pixels[3, 4, 1], pixels[5, 6, 0] = np.nan, np.inf
        if i == 4:
            pixels[:4] = 1.5
        if i == 6:
            pixels[:] = 0.25
        write_image(tmp_path / "d" / "images" / f"{i}.tif", pixels)
        write_image(tmp_path / "d" / "masks" / f"{i}.tif", mask)
    report = reported(tmp_path / "d", tmp_path, REFLECTANCE)
    told = "\n".join(report.warnings)
    assert "1 image has pixels that are NaN or infinite, which count as without data: 2.tif" in told
    assert "1 image has values beyond the declared range of 0 to 1, which are clipped: 4.tif" in told
    assert "1 image is of one value only: 6.tif" in told
    assert (report.pixels[0].non_finite_px, report.pixels[0].beyond_px) == (2, 160)
    dark = InputContract(pixel_type="float32", value_range=(0, 100), mean=(1, 1, 1), std=(1, 1, 1))
    assert "little of the declared range of 0 to 100" in "\n".join(reported(tmp_path / "d", tmp_path, dark).warnings)


def test_other_scales_and_offsets_are_an_error_as_in_training(folders: Path, tmp_path: Path) -> None:
    image, mask = scar(np.random.default_rng(0), 60, 60)
    (folders / "images" / "s04.png").unlink()
    place = {"crs": "EPSG:32647", "transform": rasterio.Affine(0.5, 0, 600000, 0, -0.5, 3000000)}
    path = write_image(folders / "images" / "s04.tif", image, **place)
    write_image(folders / "masks" / "s04.png", mask)
    with rasterio.open(path, "r+") as dataset:
        dataset.offsets = (-1000.0,) * 3
    assert any("declares scale and offset" in error for error in reported(folders, tmp_path).errors)
