"""The picture of a scene: colours kept, nothing lost when made smaller, scale and north true, visible to every eye."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
import rasterio.warp
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from kda_edge.errors import OutputError, SceneError
from kda_edge.manifest import InputContract
from kda_edge.runtime import legend
from kda_edge.runtime.gdal import gdal_session, open_raster
from kda_edge.runtime.ground import Frame, Ground, locate
from kda_edge.runtime.legend import LANDSLIDE, NODATA, STRIP_PX, north, scale_bar
from kda_edge.runtime.picture import write_picture
from kda_edge.runtime.scene import open_scene

UTM = "EPSG:32647"
METRE = Affine(1, 0, 499_000, 0, -1, 3_000_000)


def write_raster(
    path: Path, layers: NDArray[Any], *, crs: str | None = UTM, transform: Affine = METRE, **more: Any
) -> Path:
    count, height, width = layers.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(
            path, "w", driver="GTiff", height=height, width=width, count=count, dtype=layers.dtype, crs=crs,
            transform=transform, **more,
        )  # fmt: skip
    with dataset:
        dataset.write(layers)
    return path


def write_pair(folder: Path, scene: NDArray[Any], classes: NDArray[np.uint8], **georeference: Any) -> tuple[Path, Path]:
    scene_path = write_raster(folder / "scene.tif", scene, **georeference)
    layers = np.stack([classes, np.where(classes == 255, 255, 100), np.zeros_like(classes)]).astype("uint8")
    return scene_path, write_raster(folder / "scene_landslide.tif", layers, **georeference)


def draw(
    pair: tuple[Path, Path], out: Path, *, bands: tuple[int, int, int] = (1, 2, 3), **options: Any
) -> NDArray[Any]:
    with gdal_session(), open_scene(pair[0], InputContract(), bands=bands, value_range=(0, 1)) as scene:
        return write_picture(scene, pair[1], out, **options)


def picture(pair: tuple[Path, Path], **options: Any) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) RGB, its legend included."""
    out = pair[0].with_suffix(".png")
    draw(pair, out, **options)
    image = cv2.imread(str(out), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image[..., ::-1], np.uint8)


def violet(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a picture shows the outline's colour, smoothed edges included."""
    return (image[..., 0] > 150) & (image[..., 2] > 150) & (image[..., 1] < 90)


def grey(shape_hw: tuple[int, int], value: int = 90) -> NDArray[np.uint8]:
    return np.full((3, *shape_hw), value, np.uint8)


def test_an_8_bit_scene_without_landslides_is_shown_byte_for_byte(tmp_path: Path) -> None:
    scene = np.random.default_rng(0).integers(0, 256, (4, 700, 600), dtype="uint8")
    pair = write_pair(tmp_path, scene, np.zeros((700, 600), "uint8"), alpha="unspecified")
    shown = picture(pair, bands=(3, 1, 4), max_px=748)
    np.testing.assert_array_equal(shown[:-STRIP_PX], scene[[2, 0, 3]].transpose(1, 2, 0))


def test_a_small_scene_is_shown_whole_times_larger(tmp_path: Path) -> None:
    scene = np.random.default_rng(0).integers(0, 256, (3, 90, 110), dtype="uint8")
    shown = picture(write_pair(tmp_path, scene, np.zeros((90, 110), "uint8")))
    np.testing.assert_array_equal(shown[:-STRIP_PX], np.kron(scene.transpose(1, 2, 0), np.ones((8, 8, 1), "uint8")))


@pytest.mark.parametrize("shape_hw", [(2000, 900), (900, 2000), (1601, 1600), (4000, 3)], ids=str)
@pytest.mark.parametrize("max_px", [500, 1600])
def test_the_longest_side_keeps_the_limit_and_the_shape_is_kept(
    tmp_path: Path, shape_hw: tuple[int, int], max_px: int
) -> None:
    shown = picture(write_pair(tmp_path, grey(shape_hw), np.zeros(shape_hw, "uint8")), max_px=max_px)
    assert max(shown.shape) <= max_px
    height, width = shown.shape[0] - STRIP_PX, int((shown[0, :, 0] == 90).sum())
    assert abs(width - height * shape_hw[1] / shape_hw[0]) <= 1
    assert shown.shape[1] >= min(max_px, 460)  # room for the legend


@pytest.mark.parametrize(
    ("crs", "transform", "ratio"),
    [
        (UTM, Affine(0.7, 0, 499_000, 0, -0.3, 3_000_000), 7 / 3),
        ("EPSG:4326", Affine(1e-4, 0, 20, 0, 1e-4, 60), 0.5015),  # cos 60 degrees, on the ellipsoid
        (UTM, Affine(0.4, 0.3, 499_000, 0.3, -0.4, 3_000_000), 1.0),
        (None, Affine(0.7, 0, 0, 0, -0.3, 0), 1.0),
    ],
    ids=["non-square", "geographic", "rotated", "no crs"],
)
def test_a_metre_is_as_long_along_rows_as_along_columns(
    tmp_path: Path, crs: str | None, transform: Affine, ratio: float
) -> None:
    pair = write_pair(tmp_path, grey((800, 800)), np.zeros((800, 800), "uint8"), crs=crs, transform=transform)
    shown = picture(pair)
    height, width = shown.shape[0] - STRIP_PX, int((shown[0, :, 0] == 90).sum())
    assert width / height == pytest.approx(ratio, rel=3e-3)


@pytest.mark.parametrize("max_px", [1600, 700, 300])
def test_no_landslide_vanishes_however_small_the_picture(tmp_path: Path, max_px: int) -> None:
    shape_hw = (3000, 2400)
    places = np.random.default_rng(1).integers(5, 2395, (40, 2))
    classes = np.zeros(shape_hw, "uint8")
    classes[places[:, 0], places[:, 1]] = 1
    pair = write_pair(tmp_path, grey(shape_hw), classes, blockysize=1)
    shown = violet(picture(pair, max_px=max_px)[:-STRIP_PX])
    scale = shown.shape[0] / shape_hw[0]
    for row, col in (places * scale).astype(int):
        assert shown[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2].any()
    empty = np.ones(shape_hw, "uint8")
    for row, col in places:
        empty[max(0, row - 60) : row + 60, max(0, col - 60) : col + 60] = 0
    rows, cols = (np.argwhere(empty)[::5000] * scale).astype(int).T
    inside = (rows < shown.shape[0]) & (cols < shown.shape[1])
    assert inside.any()
    assert not shown[rows[inside], cols[inside]].any()


def test_outlines_run_along_pixel_corners_and_holes_are_outlined(tmp_path: Path) -> None:
    classes = np.zeros((100, 100), "uint8")
    classes[20:80, 30:90] = 1
    classes[40:60, 50:70] = 0
    shown = picture(write_pair(tmp_path, grey((100, 100)), classes))[:-STRIP_PX]  # eight times larger
    assert shown.shape == (800, 800, 3)
    for row, edges in ((240, (240, 720)), (400, (240, 400, 560, 720))):  # above the hole, through the hole
        lines = np.flatnonzero(violet(shown)[row])
        assert all(np.abs(lines - edge + 0.5).min() <= 1 for edge in edges)
        assert all(np.abs(line - np.array(edges) + 0.5).min() <= 1 for line in lines)
    assert (shown[400, 480] == 90).all()
    red, green, blue = shown[240, 480].tolist()
    assert min(red, blue) > 110
    assert green < 80


def test_ground_without_data_is_light_grey_and_only_that(tmp_path: Path) -> None:
    classes = np.zeros((700, 700), "uint8")
    classes[:, 500:] = 255
    scene = grey((700, 700), 30).astype("float32")
    scene[:, :, 500:] = np.nan
    scene[:, :, :250] = 60
    shown = picture(write_pair(tmp_path, scene, classes), max_px=748)[:-STRIP_PX]
    assert (shown[:, 500:] == NODATA).all()
    assert (shown[:, 250:500] == 0).all()
    assert (shown[:, :250] == 255).all()


def test_other_types_are_stretched_over_valid_pixels_only(tmp_path: Path) -> None:
    """A nodata value of 65535 beside values of 1000 to 2000 must not make the picture black."""
    ramp = np.linspace(1000, 2000, 800)
    scene = np.broadcast_to(ramp, (3, 600, 800)).astype("uint16").copy()
    classes = np.zeros((600, 800), "uint8")
    scene[:, :100], classes[:100] = 65535, 255
    shown = picture(write_pair(tmp_path, scene, classes), max_px=800)[:-STRIP_PX].astype(int)
    expected = np.clip(
        (ramp - np.percentile(ramp, 2)) / (np.percentile(ramp, 98) - np.percentile(ramp, 2)) * 255, 0, 255
    )
    np.testing.assert_allclose(shown[300, :, 1], expected, atol=2)
    assert (shown[:100] == NODATA).all()


def test_a_few_values_that_are_not_numbers_spoil_only_their_own_place(tmp_path: Path) -> None:
    scene = np.broadcast_to(np.linspace(0.1, 0.2, 1000), (3, 900, 1000)).astype("float32").copy()
    scene[:, 400:500, 300:350] = np.nan
    shown = picture(write_pair(tmp_path, scene, np.zeros((900, 1000), "uint8")), max_px=500)[:-STRIP_PX]
    assert (shown[225, 162] == NODATA).all()
    assert shown[50, 2].max() < 5
    assert shown[50, -2].min() > 250


def test_a_flat_scene_of_another_type_does_not_fail(tmp_path: Path) -> None:
    shown = picture(write_pair(tmp_path, np.full((3, 20, 20), 7, "int16"), np.zeros((20, 20), "uint8")))
    assert (shown[:-STRIP_PX, :160] == 0).all()


def test_a_scene_all_nodata_is_all_grey(tmp_path: Path) -> None:
    shown = picture(write_pair(tmp_path, np.full((3, 20, 20), np.nan, "float32"), np.full((20, 20), 255, "uint8")))
    assert (shown[:-STRIP_PX, :160] == NODATA).all()


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


def test_a_damaged_scene_is_named(tmp_path: Path) -> None:
    scene = np.random.default_rng(0).integers(0, 256, (3, 600, 600), dtype="uint8")
    pair = write_pair(tmp_path, scene, np.zeros((600, 600), "uint8"))
    with pair[0].open("r+b") as file:
        file.truncate(pair[0].stat().st_size // 2)
    with pytest.raises(SceneError, match=r"scene\.tif"):
        picture(pair)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, grey((8, 8)), np.zeros((8, 8), "uint8"))
    with pytest.raises(OutputError, match="no-such-folder"):
        draw(pair, tmp_path / "no-such-folder" / "p.png")


MEASURE = """
import sys
from pathlib import Path
from kda_edge.manifest import InputContract
from kda_edge.runtime.gdal import gdal_session
from kda_edge.runtime.picture import write_picture
from kda_edge.runtime.scene import open_scene
def peak_kb():  # getrusage would count the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
before = peak_kb()
with gdal_session(), open_scene(Path(sys.argv[1]), InputContract()) as scene:
    write_picture(scene, Path(sys.argv[1]), Path(sys.argv[2]))
print(peak_kb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_stays_far_below_the_raster(tmp_path: Path) -> None:
    """A scene and a map of 3 x 64 MB each are drawn within 150 MB, the interpreter not counted."""
    side, block = 8_000, 512
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "crs": UTM}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(tmp_path / "big.tif", "w", **profile, **tiles, transform=METRE) as dataset:
        for row in range(0, side, block):
            height = min(block, side - row)
            dataset.write(
                np.full((3, height, side), row // block % 2, "uint8"), window=((row, row + height), (0, side))
            )
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "big.tif"), str(tmp_path / "big.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert int(done.stdout) < 150_000
