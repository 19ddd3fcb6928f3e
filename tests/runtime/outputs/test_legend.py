"""The strip below a picture: scale and north are true, and its colours stand out for every eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.warp
from numpy.typing import NDArray
from pictures import METRE, UTM, grey, picture, write_pair, write_raster
from rasterio.transform import Affine

from kda_edge.ground.ground import Frame, Ground, locate
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.runtime.outputs import legend
from kda_edge.runtime.outputs.legend import LANDSLIDE, STRIP_PX, north, scale_bar


@pytest.mark.parametrize(
    ("metres_a_px", "length_px", "label"),
    [(1.0, 200, "200 m"), (0.03, 167, "5 m"), (10.0, 200, "2 km"), (2.6, 192, "500 m"), (0.001, 200, "20 cm")],
)
def test_the_scale_bar_is_as_long_as_it_says(metres_a_px: float, length_px: int, label: str) -> None:
    assert scale_bar(metres_a_px, 210) == (length_px, label)


def test_the_drawn_scale_bar_measures_what_it_says(tmp_path: Path) -> None:
    """A 2000 m scene drawn 1600 px wide: the bar of 200 m is 160 px long."""
    pair = write_pair(tmp_path, grey((1000, 2000)), np.zeros((1000, 2000), "uint8"))
    strip = picture(pair)[-STRIP_PX:]
    dark = (strip[36, 400:-70] < 100).all(axis=1)
    assert dark.sum() == pytest.approx(160, abs=3)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, METRE),
        (UTM, Affine(1, 0, 499_000, 0, 1, 3_000_000)),
        (UTM, Affine(0.4, 0.3, 499_000, 0.3, -0.4, 3_000_000)),
        ("EPSG:32633", Affine(10, 0, 200_000, 0, -10, 8_000_000)),
        ("EPSG:3031", Affine(30, 0, 1.0e6, 0, -30, 2.0e5)),
        ("EPSG:4326", Affine(3e-4, 1e-4, 20, 1e-4, -2e-4, 60)),
    ],
    ids=["north up", "south up", "rotated", "zone edge", "antarctic", "geographic rotated"],
)
def test_the_arrow_points_where_the_longitude_stays_and_the_latitude_grows(
    tmp_path: Path, crs: str, transform: Affine
) -> None:
    path = write_raster(tmp_path / "m.tif", np.zeros((1, 100, 100), "uint8"), crs=crs, transform=transform)
    with open_raster(path) as dataset:
        ground = locate(Frame.of(dataset))
    assert isinstance(ground, Ground)
    right, down = north(ground.step_m((50, 50)))
    assert right**2 + down**2 == pytest.approx(1)
    a, b, c, d, e, f = transform[:6]
    ends = [(50.0, 50.0), (50 + right, 50 + down)]
    xs, ys = zip(*((a * col + b * row + c, d * col + e * row + f) for col, row in ends), strict=True)
    (lon0, lon1), (lat0, lat1) = rasterio.warp.transform(crs, "EPSG:4326", xs, ys)
    assert lat1 > lat0
    assert abs(lon1 - lon0) < 1e-5 * abs(lat1 - lat0)


def test_a_scene_without_crs_has_neither_scale_nor_north(tmp_path: Path) -> None:
    classes = np.zeros((600, 600), "uint8")
    pair = write_pair(tmp_path, grey((600, 600)), classes, crs=None, transform=Affine.identity())
    assert (picture(pair)[-STRIP_PX:, 300:] == 255).all()
    (tmp_path / "placed").mkdir()
    pair = write_pair(tmp_path / "placed", grey((600, 600)), classes)
    assert not (picture(pair)[-STRIP_PX:, 300:] == 255).all()


GROUNDS = {
    "forest": (38, 56, 30),
    "meadow": (96, 120, 62),
    "dry grass": (160, 148, 98),
    "brown soil": (128, 96, 66),
    "red soil": (150, 92, 64),
    "bare rock": (140, 138, 132),
    "debris": (190, 180, 165),
    "road": (105, 105, 108),
    "shadow": (22, 24, 26),
}
# What a colour-blind eye sees, on linear light: Machado, Oliveira and Fernandes 2009, severity 1.
EYES = {
    "normal": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(color: tuple[int, int, int], eye: Any) -> NDArray[np.float64]:
    """CIELAB (D65) of an sRGB colour as an eye sees it."""
    value = np.array(color) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(eye) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen
    t = xyz / [0.9505, 1.0, 1.089]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("ground", GROUNDS)
def test_the_outline_stands_out_from_every_ground_for_every_eye(eye: str, ground: str) -> None:
    """A CIELAB difference of 10 is seen at a glance; 40 is another colour altogether."""
    difference = np.linalg.norm(lab(LANDSLIDE, EYES[eye]) - lab(GROUNDS[ground], EYES[eye]))
    assert difference > 40
    assert np.linalg.norm(lab(LANDSLIDE, EYES[eye]) - lab(legend.CASING, EYES[eye])) > 40
