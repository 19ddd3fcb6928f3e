"""Commands that messages tell people to type: they can be typed, whatever the scene is called, and harm nothing."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

from kda_edge.errors import KdaEdgeError, SceneError
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.geo.raster_names import raster_named
from kda_edge.runtime.scenes.remedies import copy_again, damaged, not_a_raster, written_anew
from kda_edge.runtime.scenes.scene import open_scene


@pytest.mark.parametrize(
    "name", ["scene.tif", "my scene.tif", "it's;rm -rf.tif", "$HOME.tif", "-dash.tif", "warped.tif", "a/scene_new.tif"]
)
def test_a_command_is_one_for_the_shell_and_never_writes_onto_the_scene(name: str) -> None:
    words = shlex.split(written_anew("gdal_translate -ot Float32", Path(name)))
    assert words[:3] == ["gdal_translate", "-ot", "Float32"]
    assert Path(words[3]) == Path(name)
    assert len(words) == 5
    assert not any(word.startswith("-") for word in words[3:])
    assert Path(words[4]) != Path(name)


def test_of_an_address_it_is_of_a_file_that_was_downloaded() -> None:
    address = raster_named("https://me:pw@host/scene.tif?key=1")
    assert written_anew("gdalwarp -tps", address) == "gdalwarp -tps DOWNLOADED scene_new.tif, once it is downloaded"
    for remedy in (copy_again, damaged, not_a_raster):
        assert "download it" in remedy(address)
        assert "download" not in remedy(Path("scene.tif"))


def refusal(path: Path) -> str:
    with gdal_session(), pytest.raises(SceneError) as caught, open_scene(path, InputContract()):
        pass
    return str(caught.value)


def test_the_message_about_a_scene_with_a_space_can_be_followed(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    image = np.ones((20, 20, 3), np.uint8)
    path = scene_at(tmp_path / "my scene.tif", image, crs=None, transform=None).path
    with open_raster(path, "r+") as dataset:
        points = [rasterio.control.GroundControlPoint(row, row % 7, 5, 6) for row in range(5)]
        dataset.gcps = (points, rasterio.CRS.from_epsg(32647))
    words = shlex.split(refusal(path).partition("with: ")[2])
    assert words == ["gdalwarp", "-tps", str(path), "my scene_new.tif"]


def test_a_file_of_several_rasters_names_one_that_can_be_given(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    image = np.random.default_rng(0).integers(1, 256, (30, 40, 2), np.uint8)
    copy(scene_at(tmp_path / "rain.tif", image).path, tmp_path / "rain.nc", driver="netCDF")
    (name,) = shlex.split(refusal(tmp_path / "rain.nc").partition("-o: ")[2])
    with gdal_session(), open_scene(raster_named(name), InputContract(), bands=(1, 1, 1)) as scene:
        assert (scene.height_px, scene.width_px) == (30, 40)


@pytest.mark.parametrize("there", [True, False])
def test_a_record_that_can_not_be_opened_is_to_be_removed_only_where_it_is(tmp_path: Path, there: bool) -> None:
    from kda_edge.runtime.runs.framed_file import locked

    path = tmp_path / ".s.journal" if there else Path("/proc/.s.journal")
    if there:
        path.mkdir()
    with pytest.raises(KdaEdgeError) as caught, locked(path):
        pass
    assert ("remove it or choose" in str(caught.value)) == there
    assert "choose another folder with -o" in str(caught.value)
