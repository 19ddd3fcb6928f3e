"""Mask files made from annotations: all are checked first, then written, so that an error leaves none."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.windows import Window

from kda_edge.errors import DataError, OutputError, one_line
from kda_edge.paths import exists, is_dir, is_file
from kda_edge.whole_files import write_whole

from ..data.image_files import open_raster, read_facts
from ..data.pairing import ENDINGS
from .areas import Area, LabelledImage, chosen_labels, mask_of
from .coco import images_of_coco, is_coco
from .labelme import image_of_labelme, is_labelme
from .vector_layer import VectorLayer

STRIP_PX: Final = 2048  # rows that are rasterised at a time
BLOCK_PX: Final = 512  # side of the blocks of a scene's mask

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PlannedMask:
    """A mask that will be written.

    Attributes:
        path: of the mask.
        width_px: columns.
        height_px: rows.
        areas: landslides, in pixels.
        crs: of a scene; None: a PNG without a place.
        transform: of a scene, from column and row to its coordinates.
    """

    path: Path
    width_px: int
    height_px: int
    areas: tuple[Area, ...]
    crs: CRS | None = None
    transform: Any = None


def read_annotations(path: Path) -> list[LabelledImage]:
    """Read a COCO file, a LabelMe file, or all LabelMe files of a folder.

    Raises:
        DataError: missing, not JSON, or neither of them.
    """
    files = sorted(path.glob("*.json")) if is_dir(path) else [path]
    if not files:
        raise DataError(f"{path} holds no JSON file; name a COCO file, or the folder of LabelMe's")
    found: list[LabelledImage] = []
    for file in files:
        content = _json(file)
        if is_coco(content):
            found += images_of_coco(content, file)
        elif is_labelme(content):
            found.append(image_of_labelme(content, file))
        else:
            raise DataError(f"{file} is neither COCO nor LabelMe; name a COCO file, or the folder of LabelMe's")
    return found


def plan_of_images(
    labelled: Iterable[LabelledImage], images: Path, out: Path, named: Collection[str], where: str
) -> list[PlannedMask]:
    """Return the masks of annotated images, whose files are looked at.

    Args:
        labelled: images with polygons.
        images: folder of their files.
        out: folder of the masks.
        named: labels that mean landslide; empty: the only one.
        where: what holds the polygons, for messages.

    Raises:
        DataError: an image is missing, has another size than it was annotated at, or shares its name with another.
    """
    labelled = list(labelled)
    labels = chosen_labels((area.label for one in labelled for area in one.areas), named, where)
    plan: dict[str, PlannedMask] = {}
    for one in labelled:
        image = images / one.name
        if not is_file(image):
            raise DataError(f"there is no image {image}, which {where} annotates; name the folder of the images")
        facts = read_facts(image)
        if (facts.width_px, facts.height_px) != (one.width_px, one.height_px):
            raise DataError(
                f"{image} is {facts.width_px} x {facts.height_px} px and was annotated at {one.width_px} x "
                f"{one.height_px} px; annotate the images that are trained on"
            )
        if image.stem in plan:
            raise DataError(f"two images of {where} are called {image.stem}; give each a name of its own")
        areas = tuple(area for area in one.areas if area.label in labels)
        plan[image.stem] = PlannedMask(out / f"{image.stem}.png", one.width_px, one.height_px, areas)
    return list(plan.values())


def plan_of_scenes(layer: VectorLayer, scenes: Path, out: Path, named: Collection[str]) -> list[PlannedMask]:
    """Return the masks of georeferenced scenes.

    Args:
        layer: of polygons.
        scenes: one file, or a folder of them.
        out: folder of the masks.
        named: labels that mean landslide; empty: the only one.

    Raises:
        DataError: no scenes, one without a place on the ground, or no polygon on any of them.
    """
    files = sorted(path for path in scenes.iterdir() if path.suffix.lower() in ENDINGS) if is_dir(scenes) else [scenes]
    if not files:
        raise DataError(f"{scenes} holds no scene; name a GeoTIFF, or a folder of them")
    labels = chosen_labels((label for label, _ in layer.polygons), named, str(layer.path))
    plan = []
    for file in files:
        with open_raster(file) as dataset:
            crs, transform, width_px, height_px = dataset.crs, dataset.transform, dataset.width, dataset.height
        if crs is None or transform == Affine.identity():
            raise DataError(f"{file} does not say where it lies, so polygons have no place on it; georeference it")
        areas = layer.areas_on(crs, ~transform)
        inside = tuple(one for one in areas if one.label in labels and _touches(one, width_px, height_px))
        plan.append(PlannedMask(out / f"{file.stem}.tif", width_px, height_px, inside, crs, transform))
    if not any(one.areas for one in plan):
        raise DataError(
            f"no polygon of {layer.path} lies on {scenes}; are they of the same place, and in their own CRS?"
        )
    return plan


def write_masks(plan: Iterable[PlannedMask], progress: Progress | None = None) -> list[tuple[PlannedMask, int]]:
    """Write planned masks, and return each with its landslide pixels.

    Raises:
        OutputError: a mask is there already, or one can't be written.
    """
    plan = list(plan)
    for one in plan:
        if exists(one.path):
            raise OutputError(f"{one.path} exists; move it away, or choose another folder with --out")
    written = []
    for done, one in enumerate(plan, start=1):
        try:
            one.path.parent.mkdir(parents=True, exist_ok=True)
            content, landslide_px = _png(one) if one.crs is None else _tiff(one)
            write_whole(one.path, content)
        except OSError as error:
            raise OutputError(f"{one.path} can't be written ({one_line(error)}); choose another folder") from error
        written.append((one, landslide_px))
        if progress is not None:
            progress("masks", done, len(plan))
    return written


def _png(planned: PlannedMask) -> tuple[bytes, int]:
    mask = mask_of(planned.areas, planned.height_px, planned.width_px)
    return cv2.imencode(".png", mask)[1].tobytes(), int(mask.sum())


def _tiff(planned: PlannedMask) -> tuple[bytes, int]:
    """Return a GeoTIFF, compressed, rasterised strip by strip."""
    profile = {"width": planned.width_px, "height": planned.height_px, "count": 1, "dtype": "uint8"}
    place = {"crs": planned.crs, "transform": planned.transform}
    blocks = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "compress": "deflate"}
    landslide_px = 0
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", BIGTIFF="IF_SAFER", **profile, **place, **blocks) as dataset:
            for row in range(0, planned.height_px, STRIP_PX):
                rows = min(STRIP_PX, planned.height_px - row)
                strip = mask_of(planned.areas, rows, planned.width_px, first_row=row)
                landslide_px += int(strip.sum(dtype=np.int64))
                dataset.write(strip, 1, window=Window(0, row, planned.width_px, rows))
        return bytes(memory.read()), landslide_px


def _touches(area: Area, width_px: int, height_px: int) -> bool:
    columns = [x for x, _ in area.rings[0]]
    top, bottom = area.top_bottom
    return max(columns) > 0 and min(columns) < width_px and bottom > 0 and top < height_px


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; name the annotations") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as JSON ({one_line(error)}); export it again") from error
