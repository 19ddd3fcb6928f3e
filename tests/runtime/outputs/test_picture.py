"""The picture of a scene: colours kept, nothing lost when made smaller, memory that of the picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pictures import METRE, UTM, draw, grey, picture, violet, write_pair
from rasterio.transform import Affine

from kda_edge.errors import OutputError
from kda_edge.runtime.outputs.legend import LANDSLIDE, NODATA, STRIP_PX


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
    "layout", [{"blockysize": 1}, {"tiled": True, "blockxsize": 16, "blockysize": 48, "compress": "deflate"}], ids=str
)
def test_the_same_scene_gives_the_same_bytes_whatever_its_blocks(tmp_path: Path, layout: dict[str, object]) -> None:
    rng = np.random.default_rng(2)
    scene = rng.integers(0, 3000, (3, 1900, 700), dtype="uint16")
    classes = (rng.random((1900, 700)) < 1e-3).astype("uint8")
    pictures = []
    for number, blocks in enumerate(({}, layout)):
        folder = tmp_path / str(number)
        folder.mkdir()
        pair = write_pair(folder, scene, classes, **blocks)
        values = draw(pair, folder / "p.png", max_px=500)
        assert values.shape[1] == 3
        assert 1000 < values.mean() < 2000
        pictures.append((folder / "p.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_a_colour_is_the_mean_of_samples_all_over_its_cell(tmp_path: Path) -> None:
    """Black and white pixels at random are grey from afar: one sample a cell would leave them black and white."""
    noise = np.random.default_rng(0).integers(0, 2, (3, 1520, 1520), dtype="uint8") * np.uint8(200)
    shown = picture(write_pair(tmp_path, noise, np.zeros((1520, 1520), "uint8")), max_px=200)[:-STRIP_PX, :152]
    assert abs(shown.mean() - 100) < 1
    assert shown.std() < 1.3 * 100 / np.sqrt(16)  # of sixteen samples


def test_pixels_without_data_have_no_part_in_a_colour(tmp_path: Path) -> None:
    scene = np.full((3, 1200, 1200), 120, "uint8")
    scene[:, np.random.default_rng(0).random((1200, 1200)) < 0.4] = 200  # nodata
    pair = write_pair(tmp_path, scene, np.zeros((1200, 1200), "uint8"), nodata=200)
    assert (picture(pair, max_px=300)[:-STRIP_PX, :252] == 120).all()


def test_more_landslides_than_anybody_can_see_are_drawn_in_bounded_time(tmp_path: Path) -> None:
    """A quarter of a million of them, one pixel each: every one shows, none is outlined on its own."""
    classes = np.zeros((1000, 1000), "uint8")
    classes[::2, ::2] = 1
    shown = picture(write_pair(tmp_path, grey((1000, 1000)), classes), max_px=1048)[:-STRIP_PX]
    np.testing.assert_array_equal((shown == LANDSLIDE).all(axis=2), classes == 1)
    assert (shown[classes == 0] == 90).all()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, grey((8, 8)), np.zeros((8, 8), "uint8"))
    with pytest.raises(OutputError, match="no-such-folder"):
        draw(pair, tmp_path / "no-such-folder" / "p.png")


MEASURE = """
import sys
from pathlib import Path
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.outputs.picture import Sketch, write_picture
from kda_edge.runtime.scenes.scene import open_scene
def peak_kb():  # getrusage would count the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
before = peak_kb()
with gdal_session(), open_scene(Path(sys.argv[1]), InputContract()) as scene:
    sketch = Sketch(scene)
    for row in range(0, scene.height_px, 100):
        sketch.cells.add(scene.read(row, row + 100, 0, scene.width_px).image[..., 0])
    write_picture(scene, sketch, Path(sys.argv[2]))
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
