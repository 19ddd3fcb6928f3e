"""Tiles cut out of a scene, filled and mapped onto the model's values as an engine is given them when it maps one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import SceneError
from kda_edge.tiling.certificate_tiles import Tile
from kda_edge.tiling.fill_nodata import fill_nodata, pad_to_tile

from ..scenes.scene import Scene
from .value_range import ValueMap

_T = TypeVar("_T")


def cut_tiles(scene: Scene, corners: Sequence[tuple[int, int]], tile_px: int) -> Iterator[Tile]:
    """Yield the tiles of an open scene at (row, column), but for those without any data.

    Raises:
        SceneError: the file can't give every pixel of them.
    """
    in_range = ValueMap(scene.value_range, scene.contract.value_range)
    for row, col in corners:
        end_row, end_col = min(row + tile_px, scene.height_px), min(col + tile_px, scene.width_px)
        image, valid = read_undamaged(scene, row, end_row, col, end_col)
        if valid.any():
            whole = pad_to_tile(fill_nodata(image, valid), tile_px).transpose(2, 0, 1)
            pixels = in_range(np.ascontiguousarray(whole, dtype=np.float32))
            yield Tile(f"{scene.path.name}, row {row}, column {col}", pixels)


def read_undamaged(scene: Scene, row0: int, row1: int, col0: int, col1: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the pixels of a window, (H, W, 3), and where they are valid, (H, W).

    Raises:
        SceneError: the file can't give every one of them.
    """
    image, valid, lost = scene.read(row0, row1, col0, col1)
    if lost is not None and lost.any():
        raise SceneError(f"{scene.path} is damaged in rows {row0} to {row1 - 1}; copy it again from its source")
    return image, valid


def spread_over(items: Sequence[_T], most: int) -> list[_T]:
    """Return at most `most` of the items, evenly spaced, from the middle of equal parts."""
    if len(items) <= most:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * most)] for i in range(most)]
