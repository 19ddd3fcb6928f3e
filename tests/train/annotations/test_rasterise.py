"""One command makes masks of COCO's, LabelMe's and a GIS's polygons, or none and one line that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyogrio.raw import write
from rasterio.warp import transform
from slow_polygons import inside, star
from worlds import write_image

from kda_edge.train.cli import main
from kda_edge.train.data.data_file import DataRequest, load_data
from kda_edge.train.data.image_files import MaskRule, read_mask

HEIGHT_PX, WIDTH_PX = 40, 50
PLACE = Affine(2, 0.3, 600_000, -0.2, -2, 3_000_000)  # turned a little


def images(folder: Path, count: int = 3) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        write_image(folder / f"i{number}.png", rng.integers(0, 255, (HEIGHT_PX, WIDTH_PX, 3), np.uint8))
    return folder


def coco(path: Path, polygons: list[list[Any]], **changes: Any) -> Path:
    """Write a COCO file: polygons of label 7 by image, the second of each of label 8."""
    listed = [
        {"id": 10 + i, "file_name": f"i{i}.png", "width": WIDTH_PX, "height": HEIGHT_PX} for i in range(len(polygons))
    ]
    annotations = [
        {"image_id": 10 + i, "category_id": 7 + (n == 1), "segmentation": [[c for point in ring for c in point]]}
        for i, rings in enumerate(polygons)
        for n, ring in enumerate(rings)
    ]
    categories = [{"id": 7, "name": "landslide"}, {"id": 8, "name": "road"}]
    content = {"images": listed, "annotations": annotations, "categories": categories, **changes}
    path.write_text(json.dumps(content))
    return path


def mask(path: Path) -> np.ndarray:
    return read_mask(path, MaskRule()) == 1


def test_masks_of_coco_are_what_each_image_shows_of_the_named_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    polygons = [[star(rng, (20, 20), 18), star(rng, (30, 10), 12)], [star(rng, (10, 30), 18)], []]
    folder = images(tmp_path / "d" / "images")
    words = ["rasterise", str(coco(tmp_path / "coco.json", polygons)), "--images", str(folder)]
    words += ["--out", str(tmp_path / "d" / "masks")]
    assert main(words) == 2
    assert "has several labels, 'landslide' (2), 'road' (1); say with --landslide" in capsys.readouterr().err
    assert main([*words, "--landslide", "landslide"]) == 0
    for number, rings in enumerate(polygons):
        expected = inside([[ring] for ring in rings[:1]], HEIGHT_PX, WIDTH_PX)
        np.testing.assert_array_equal(mask(tmp_path / "d" / "masks" / f"i{number}.png"), expected)
    assert "3 masks, 2 polygons" in capsys.readouterr().out
    assert sum(map(len, load_data(DataRequest(tmp_path / "d", seed=0)).samples.values())) == 3
    assert main([*words, "--landslide", "landslide"]) == 1, "nothing is overwritten"
    assert "exists; move it away" in capsys.readouterr().err


def test_masks_of_labelme_take_polygons_rectangles_and_circles(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    folder, ring = images(tmp_path / "images"), star(rng, (22, 20), 19)
    shapes = [
        [{"label": "slide", "points": ring, "shape_type": "polygon"}],
        [{"label": "slide", "points": [[30.2, 25.1], [10.4, 5.3]], "shape_type": "rectangle"}],
        [{"label": "slide", "points": [[20, 20], [20, 32]], "shape_type": "circle"}],
    ]
    for number, own in enumerate(shapes):
        content = {"shapes": own, "imagePath": f"..\\images\\i{number}.png"}
        content |= {"imageWidth": WIDTH_PX, "imageHeight": HEIGHT_PX}
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"i{number}.json").write_text(json.dumps(content))
    assert main(["rasterise", str(tmp_path / "labels"), "--images", str(folder), "--out", str(tmp_path / "m")]) == 0
    np.testing.assert_array_equal(mask(tmp_path / "m" / "i0.png"), inside([[ring]], HEIGHT_PX, WIDTH_PX))
    box = [(10.4, 5.3), (30.2, 5.3), (30.2, 25.1), (10.4, 25.1)]
    np.testing.assert_array_equal(mask(tmp_path / "m" / "i1.png"), inside([[box]], HEIGHT_PX, WIDTH_PX))
    rows, cols = np.mgrid[:HEIGHT_PX, :WIDTH_PX] + 0.5
    distance = np.hypot(rows - 20, cols - 20)
    found = mask(tmp_path / "m" / "i2.png")
    assert found[distance < 11.99].all()
    assert not found[distance > 12].any()


def scene(path: Path, *, crs: str | None = "EPSG:32647") -> Path:
    pixels = np.full((HEIGHT_PX, WIDTH_PX, 3), 90, np.uint8)
    return write_image(path, pixels, crs=crs, transform=PLACE if crs else Affine.identity())


def geopackage(path: Path, rings: list[Any], crs: str, kinds: list[str], layer: str = "slides") -> Path:
    """Write polygons, each of one ring, with the field `kind`."""
    shapes = np.empty(len(rings), object)
    for number, ring in enumerate(rings):
        points = np.asarray([*ring, ring[0]], "<f8")
        shapes[number] = b"\x01" + np.asarray([3, 1, len(points)], "<u4").tobytes() + points.tobytes()
    kind = np.asarray(kinds, object)
    write(path, shapes, [kind], ["kind"], layer=layer, driver="GPKG", geometry_type="Polygon", crs=crs, append=True)
    return path


def test_polygons_of_a_geopackage_in_another_crs_lie_where_they_lie_on_the_ground(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    on_pixels = [star(rng, (20, 20), 18), star(rng, (40, 30), 9), star(rng, (900, 900), 9)]
    rings = []
    for ring in on_pixels:
        east, north = zip(*(rasterio.transform.xy(PLACE, y, x, offset="ul") for x, y in ring), strict=True)
        rings.append(list(zip(*transform("EPSG:32647", "EPSG:4326", east, north), strict=True)))
    layer = geopackage(tmp_path / "s.gpkg", rings, "EPSG:4326", ["landslide", "debris", "landslide"])
    place = scene(tmp_path / "images" / "a.tif")
    words = ["rasterise", str(layer), "--images", str(place.parent), "--out", str(tmp_path / "masks")]
    assert main([*words, "--field", "kind", "--landslide", "landslide", "debris"]) == 0
    np.testing.assert_array_equal(
        mask(tmp_path / "masks" / "a.tif"), inside([[ring] for ring in on_pixels[:2]], HEIGHT_PX, WIDTH_PX)
    )
    with rasterio.open(tmp_path / "masks" / "a.tif") as found, rasterio.open(place) as image:
        assert (found.crs, found.transform, found.shape) == (image.crs, image.transform, image.shape)
    assert main([*words[:-1], str(tmp_path / "all")]) == 0, "without a field all mean landslide"
    np.testing.assert_array_equal(mask(tmp_path / "all" / "a.tif"), mask(tmp_path / "masks" / "a.tif"))


def wrong(tmp_path: Path, case: str) -> list[str]:
    """Return the words of a command that can't be right, and make its files."""
    ring = [(5.0, 5.0), (20.0, 5.0), (20.0, 20.0)]
    folder, out = images(tmp_path / "images"), ["--out", str(tmp_path / "masks")]
    good = [[ring]] * 3
    listed = [{"id": 10, "file_name": "i0.png", "width": 640, "height": 480}]
    twice = [{"id": i, "file_name": f"i{i}/same.png", "width": WIDTH_PX, "height": HEIGHT_PX} for i in (10, 11)]
    for number in (10, 11):
        images(folder / f"i{number}", 1).joinpath("i0.png").rename(folder / f"i{number}" / "same.png")
    runs = [{"image_id": 10, "category_id": 7, "segmentation": {"counts": [3], "size": [1, 3]}}]
    box = [{"image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4]}]
    one = [{"image_id": 10, "category_id": 7, "segmentation": [[5, 5, 20, 5, 20, 20]]}]
    files: dict[str, dict[str, Any]] = {
        "size": {"images": listed, "annotations": one},
        "missing": {"images": [{**listed[0], "file_name": "gone.png"}], "annotations": one},
        "twice": {"images": twice, "annotations": one},
        "runs": {"annotations": runs},
        "box": {"annotations": box},
        "stranger": {"annotations": [{**one[0], "image_id": 99}]},
        "field": {"images": [{"id": 10}], "annotations": []},
        "odd": {"annotations": [{**one[0], "segmentation": [[5, 5, 20, 5, 20]]}]},
        "flat": {"annotations": [{**one[0], "segmentation": [[5, 5, 20, 5]]}]},
    }
    if case in files:
        return [str(coco(tmp_path / "c.json", good, **files[case])), "--images", str(folder), *out]
    if case == "line":
        shape = {"label": "x", "points": [[1, 2], [3, 4]], "shape_type": "line"}
        content = {"shapes": [shape], "imagePath": "i0.png", "imageWidth": WIDTH_PX, "imageHeight": HEIGHT_PX}
        (tmp_path / "l.json").write_text(json.dumps(content))
        return [str(tmp_path / "l.json"), "--images", str(folder), *out]
    if case in ("foreign", "text"):
        (tmp_path / "f.json").write_text('{"a": 1}' if case == "foreign" else "hello")
        return [str(tmp_path / "f.json"), "--images", str(folder), *out]
    far = [(x + 5e5, y) for x, y in ring]
    layer = geopackage(tmp_path / "s.gpkg", [far if case == "far" else ring], "EPSG:32647", ["x"])
    if case == "layers":
        geopackage(layer, [ring], "EPSG:32647", ["x"], layer="more")
    if case == "image":
        return [str(folder / "i0.png"), "--images", str(folder), *out]
    place = scene(tmp_path / "scenes" / "a.tif", crs=None if case == "nowhere" else "EPSG:32647").parent
    more = {"no field": ["--field", "y"], "no layer": ["--layer", "y"]}.get(case, [])
    return [str(layer), "--images", str(place), *out, *more]


@pytest.mark.parametrize(
    ("case", "status", "message"),
    [
        ("size", 1, "is 50 x 40 px and was annotated at 640 x 480 px"),
        ("missing", 1, "there is no image"),
        ("twice", 1, "two images of"),
        ("runs", 1, "annotation 0 is a run-length encoded mask; export polygons"),
        ("box", 1, "annotation 0 has a box and no polygon"),
        ("stranger", 1, "is of image 99, which is not listed"),
        ("field", 1, "is not as COCO describes it (KeyError: 'file_name')"),
        ("odd", 1, "annotation 0 has a polygon with an odd number"),
        ("flat", 1, "annotation 0: a polygon labelled 'landslide' has fewer than 3 points"),
        ("line", 1, "shape 0 is of type 'line', which is no polygon"),
        ("foreign", 1, "is neither COCO nor LabelMe"),
        ("text", 1, "can't be read as JSON"),
        ("far", 1, "no polygon of"),
        ("layers", 2, "has 2 layers, slides, more; name one with --layer"),
        ("no layer", 2, "has no layer 'y'; it has slides"),
        ("no field", 2, "has no field 'y'; it has kind"),
        ("image", 1, "can't be read as polygons"),
        ("nowhere", 1, "does not say where it lies"),
    ],
)
def test_each_mistake_has_one_line_and_leaves_no_mask(
    case: str, status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rasterise", *wrong(tmp_path, case)]) == status
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert not (tmp_path / "masks").exists()
