"""Scenes, maps and the pictures drawn of them, as arrays."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.windows import Window

from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.outputs.picture import Sketch, write_picture
from kda_edge.runtime.scenes.scene import Scene, open_scene

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
        return write_picture(scene, sketched(scene, pair[1], **options), out)


def sketched(scene: Scene, map_path: Path, **options: Any) -> Sketch:
    """A sketch that has seen a map, some rows at a time, and nothing of the scene."""
    sketch = Sketch(scene, **options)
    with rasterio.open(map_path) as landslides:
        for row in range(0, landslides.height, 100):
            sketch.cells.add(landslides.read(1, window=Window(0, row, landslides.width, 100)))
    return sketch


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
