"""Polygons of LabelMe: a JSON file an image, with shapes.

Source of the format: Wada, labelme: `shapes`, each with `label`, `points` and `shape_type`; `imagePath`, relative to
the file, `imageWidth`, `imageHeight`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import DataError

from .areas import Area, LabelledImage, Ring

CORNERS_OF_A_CIRCLE: Final = 360


def is_labelme(content: object) -> bool:
    """Whether JSON is LabelMe's."""
    return isinstance(content, dict) and {"shapes", "imagePath"} <= content.keys()


def image_of_labelme(content: Mapping[str, Any], path: Path) -> LabelledImage:
    """Return the image of a file.

    Args:
        content: of the file.
        path: of the file, for messages.

    Raises:
        DataError: a field is missing or can't be right, or a shape has no area; it is named.
    """
    try:
        areas = []
        for number, shape in enumerate(content["shapes"]):
            where = f"{path}: shape {number}"
            try:
                areas.append(Area(str(shape["label"]), (_ring(shape, where),)))
            except DataError as error:
                raise DataError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error
        name = str(content["imagePath"]).replace("\\", "/").rpartition("/")[2]
        return LabelledImage(name, int(content["imageWidth"]), int(content["imageHeight"]), tuple(areas))
    except DataError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not as LabelMe writes it ({type(error).__name__}: {error}); save it again"
        ) from error


def _ring(shape: Mapping[str, Any], where: str) -> Ring:
    """Return the outline of a shape."""
    points = tuple((float(x), float(y)) for x, y in shape["points"])
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        return points
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return (left, top), (right, top), (right, bottom), (left, bottom)
    if kind == "circle" and len(points) == 2:
        (x, y), radius = points[0], math.dist(*points)
        angles = (2 * math.pi * corner / CORNERS_OF_A_CIRCLE for corner in range(CORNERS_OF_A_CIRCLE))
        return tuple((x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles)
    raise DataError(f"{where} is of type {kind!r}, which is no polygon; draw its outline")
