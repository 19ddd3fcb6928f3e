"""Scenes in archives, and one of several rasters in a file: mapped, and told apart from their neighbours."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

from kda_edge.errors import Cancelled, JournalError, SceneError
from kda_edge.manifest import Manifest
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.geo.raster_names import raster_named
from kda_edge.runtime.scenes.scene_digest import digesting

SIZE_HW = (150, 130)


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / np.float32(255)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Iterator[Segmenter]:
    with Segmenter(identity, make_manifest()) as opened:
        yield opened


@pytest.fixture
def pair(tmp_path: Path, scene_at: Callable[..., Any]) -> tuple[Path, Path]:
    """Two scenes of one size, in a folder of their own."""
    (tmp_path / "files").mkdir()
    rng = np.random.default_rng(5)
    paths = [
        scene_at(tmp_path / "files" / f"{name}.tif", rng.integers(1, 256, (*SIZE_HW, 3), np.uint8)).path
        for name in "ab"
    ]
    return paths[0], paths[1]


def layers(path: Path) -> np.ndarray:
    with open_raster(path) as dataset:
        return np.asarray(dataset.read())


def digest(name: str) -> str | None:
    with gdal_session(), digesting(raster_named(name)) as content:
        return content().sha256


def zipped(pair: tuple[Path, Path], folder: Path) -> Path:
    with zipfile.ZipFile(folder / "pair.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in pair:
            archive.write(path, f"inside/{path.name}")
    return folder / "pair.zip"


def tarred(pair: tuple[Path, Path], folder: Path) -> Path:
    with tarfile.open(folder / "pair.tar", "w") as archive:
        for path in pair:
            archive.add(path, f"inside/{path.name}")
    return folder / "pair.tar"


@pytest.mark.parametrize(
    ("made", "address"),
    [
        (zipped, "zip://{}!inside/a.tif"),
        (zipped, "/vsizip/{}/inside/a.tif"),
        (tarred, "tar://{}!inside/a.tif"),
        (tarred, "/vsitar/{}/inside/a.tif"),
    ],
)
def test_a_scene_in_an_archive_has_the_map_of_the_file_and_goes_on_while_the_archive_is_the_same(
    pair: tuple[Path, Path],
    tmp_path: Path,
    segmenter: Segmenter,
    made: Callable[[tuple[Path, Path], Path], Path],
    address: str,
) -> None:
    archive, out, calls = made(pair, tmp_path), tmp_path / "out", list[int]()
    name = address.format(archive)
    with pytest.raises(Cancelled):
        segmenter.predict_scene(name, out, progress=lambda done, _: calls.append(done), cancel=lambda: 20 in calls)
    result = segmenter.predict_scene(name, out)
    assert result.resumed_rows > 0
    assert result.map_path == out / "a_landslide.tif"
    wanted = segmenter.predict_scene(pair[0])
    assert np.array_equal(layers(result.map_path), layers(wanted.map_path))
    calls.clear()
    again = tmp_path / "again"
    with pytest.raises(Cancelled):
        segmenter.predict_scene(name, again, progress=lambda done, _: calls.append(done), cancel=lambda: 20 in calls)
    made((pair[1], pair[0]), tmp_path)
    with pytest.raises(JournalError, match="scene was"):
        segmenter.predict_scene(name, again)


def test_two_rasters_of_one_archive_have_two_digests_and_a_copied_archive_has_the_same(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    archive = zipped(pair, tmp_path)
    one, other = (digest(f"/vsizip/{archive}/inside/{name}.tif") for name in "ab")
    assert None not in (one, other)
    assert one != other
    assert digest(f"zip://{archive}!inside/a.tif") == one
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(archive, tmp_path / "elsewhere" / "copy.zip")
    assert digest(f"/vsizip/{tmp_path}/elsewhere/copy.zip/inside/a.tif") == one
    assert digest(f"/vsizip/{{{archive}}}/inside/a.tif") == one


def test_an_archive_that_is_written_to_while_it_is_mapped_ends_the_run(
    pair: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter
) -> None:
    archive = zipped(pair, tmp_path)

    def touch(done: int, total: int) -> None:
        if done == 1:
            with archive.open("ab") as file:
                file.write(b"\0")

    with pytest.raises(SceneError, match=r"pair\.zip was changed while"):
        segmenter.predict_scene(f"zip://{archive}!inside/a.tif", tmp_path / "out", progress=touch)


@pytest.mark.parametrize("driver", ["PNG", "JPEG"])
def test_a_picture_that_only_its_file_shows_to_be_whole_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter, driver: str
) -> None:
    """Of a damaged one GDAL's decoders give rows that were made up before they say so."""
    suffix = driver.lower()
    copy(pair[0], tmp_path / f"a.{suffix}", driver=driver)
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.write(tmp_path / f"a.{suffix}", f"a.{suffix}")
    with pytest.raises(
        SceneError, match=f"is a {driver}, which only a look at its file .* unpack it and give the file"
    ):
        segmenter.predict_scene(f"zip://{tmp_path}/pack.zip!a.{suffix}", tmp_path / "out")
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="0">/vsizip/'
        f"{tmp_path}/pack.zip/a.{suffix}</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    (tmp_path / "a.vrt").write_text(f'<VRTDataset rasterXSize="130" rasterYSize="150">{bands}</VRTDataset>')
    with pytest.raises(SceneError, match=f"made of /vsizip.* a {driver}, which only a look at its file"):
        segmenter.predict_scene(tmp_path / "a.vrt", tmp_path / "out")
    assert segmenter.predict_scene(tmp_path / f"a.{suffix}", tmp_path / "out").failed_tiles == 0


def test_an_archive_is_named_with_and_without_its_folder(
    pair: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipped(pair, tmp_path)
    monkeypatch.chdir(tmp_path)
    digests = {
        digest(f"{scheme}{place}pair.zip!{inner}")
        for scheme in ("zip://", "zip+file://")
        for place in ("", "./", f"{tmp_path}/")
        for inner in ("inside/a.tif", "/inside/a.tif")
    }
    assert len(digests) == 1
    assert None not in digests


def test_a_compressed_file_is_read_as_it_is(pair: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter) -> None:
    packed = tmp_path / "a.tif.gz"
    packed.write_bytes(gzip.compress(pair[0].read_bytes()))
    result = segmenter.predict_scene(f"/vsigzip/{packed}", tmp_path / "out")
    assert np.array_equal(layers(result.map_path), layers(segmenter.predict_scene(pair[0]).map_path))
    assert digest(f"/vsigzip/{packed}") is not None


def test_one_of_several_rasters_in_a_tiff_is_mapped_and_told_from_the_others(
    pair: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter
) -> None:
    path = tmp_path / "many.tif"
    for scene in pair:
        with open_raster(scene) as source:
            profile = source.profile | {"photometric": "rgb"}
            with rasterio.Env(), rasterio.open(path, "w", APPEND_SUBDATASET=path.exists(), **profile) as target:
                target.write(source.read())
    names = [f"GTIFF_DIR:{number}:{path}" for number in (1, 2)]
    maps = [segmenter.predict_scene(name, tmp_path / "out").map_path for name in names]
    assert [path.name for path in maps] == ["1_many_landslide.tif", "2_many_landslide.tif"]
    for scene, landslides in zip(pair, maps, strict=True):
        assert np.array_equal(layers(landslides), layers(segmenter.predict_scene(scene).map_path))
    assert len({digest(name) for name in names} - {None}) == 2


def test_variables_of_a_netcdf_file_are_mapped_and_told_apart(
    tmp_path: Path, segmenter: Segmenter, scene_at: Callable[..., Any]
) -> None:
    path, rng = tmp_path / "rain.nc", np.random.default_rng(1)
    scene_at(tmp_path / "rain.tif", rng.integers(1, 256, (50, 60, 2), np.uint8))
    copy(tmp_path / "rain.tif", path, driver="netCDF")
    names = [f'NETCDF:"{path}":Band{number}' for number in (1, 2)]
    result = segmenter.predict_scene(names[0], tmp_path / "out", options=SceneOptions(bands=(1, 1, 1)))
    assert result.map_path.name == "rain_Band1_landslide.tif"
    assert result.valid_px == 3000
    assert len({digest(name) for name in names} - {None}) == 2
    shutil.copytree(tmp_path, tmp_path.with_name("moved"))
    assert digest(f"NETCDF:{tmp_path.with_name('moved')}/rain.nc:Band1") == digest(names[0])


def test_the_same_file_read_in_another_order_of_bands_is_another_scene(pair: tuple[Path, Path]) -> None:
    digests = {digest(f"vrt://{pair[0]}?bands={bands}") for bands in ("1,2,3", "3,2,1")}
    assert None not in digests
    assert len(digests) == 2
