"""Polygons of COCO: one JSON file with images, categories and annotations.

Source of the format: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and its data format of object
detection: `segmentation` is a list of polygons [x1, y1, x2, y2, ...].
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kda_edge.errors import DataError

from .areas import Area, LabelledImage


def is_coco(content: object) -> bool:
    """Whether JSON is COCO's."""
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def images_of_coco(content: Mapping[str, Any], path: Path) -> list[LabelledImage]:
    """Return the images that a file lists; one without annotations has no polygons.

    Args:
        content: of the file.
        path: of the file, for messages.

    Raises:
        DataError: a field is missing or can't be right, or a mask is run-length encoded; it is named.
    """
    try:
        names = {one["id"]: str(one["name"]) for one in content.get("categories", [])}
        areas: dict[Any, list[Area]] = {image["id"]: [] for image in content["images"]}
        for number, annotation in enumerate(content["annotations"]):
            if annotation["image_id"] not in areas:
                raise DataError(
                    f"{path}: annotation {number} is of image {annotation['image_id']!r}, which is not listed"
                )
            label = names.get(annotation["category_id"], str(annotation["category_id"]))
            areas[annotation["image_id"]] += _areas(
                annotation.get("segmentation"), label, f"{path}: annotation {number}"
            )
        return [
            LabelledImage(str(one["file_name"]), int(one["width"]), int(one["height"]), tuple(areas[one["id"]]))
            for one in content["images"]
        ]
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is not as COCO describes it ({type(error).__name__}: {error}); export it again"
        ) from error


def _areas(segmentation: object, label: str, where: str) -> list[Area]:
    if isinstance(segmentation, dict):
        raise DataError(f"{where} is a run-length encoded mask; export polygons instead")
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(f"{where} has a box and no polygon; draw its outline")
    found = []
    for line in segmentation:
        if len(line) % 2:
            raise DataError(f"{where} has a polygon with an odd number of coordinates; export it again")
        points = [float(value) for value in line]
        try:
            found.append(Area(label, (tuple(zip(points[::2], points[1::2], strict=True)),)))
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
    return found
