"""Landslide maps to try polygons on, and what is in them by slow and obvious ways."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from kda_edge.ground.ground import Frame
from kda_edge.runtime.polygons.polygon_writer import PolygonSummary, PolygonWriter

UTM = "EPSG:32647"
NORTH_UP = Affine(0.5, 0, 300_000, 0, -0.5, 2_900_000)
SOUTH_UP = Affine(0.5, 0, 300_000, 0, 0.5, 2_900_000)
ROTATED = Affine(0.4, 0.3, 300_000, 0.3, -0.4, 2_900_000)
NON_SQUARE = Affine(0.7, 0, 300_000, 0, -0.3, 2_900_000)
MIRRORED = Affine(-0.5, 0, 300_000, 0, -0.5, 2_900_000)
TRANSFORMS = [NORTH_UP, SOUTH_UP, ROTATED, NON_SQUARE, MIRRORED]


SHAPES = {
    "spiral": """
#########
#.......#
#.#####.#
#.#...#.#
#.#.#.#.#
#.#.###.#
#.#.....#
#.#######
""",
    "combs that join at their ends": """
#.#.#.#.#.#.#
#.#.#.#.#.#.#
#.###.#.#.###
#.....#.#...#
#######.#####
""",
    "holes that meet at corners": """
#######
#.#.#.#
##.#.##
#.#.#.#
#######
""",
    "a hole that meets the outside at a corner": """
.####
#.##.
#.#.#
#####
""",
    "rings within rings": """
###########
#.........#
#.#######.#
#.#.....#.#
#.#.###.#.#
#.#.....#.#
#.#######.#
#.........#
###########
""",
    "arms with an eye each": """
########
#.##...#
###....#
.......#
.###...#
.#.#####
.###....
""",
    "chequers": """
#.#.#
.#.#.
#.#.#
""",
}


def drawn_as(shape: str) -> np.ndarray:
    """Classes of a map of # and . rows."""
    return np.array([[pixel == "#" for pixel in row] for row in shape.split()], "uint8")


@st.composite
def speckled(draw: st.DrawFn) -> np.ndarray:
    """Classes of a small map: independent pixels, so that shapes are as odd as can be."""
    shape_hw = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    slide = draw(st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.8, 1.0]))
    return generator.choice([0, 1, 255], shape_hw, p=[0.8 * (1 - slide), slide, 0.2 * (1 - slide)]).astype("uint8")


def blobs(shape_hw: tuple[int, int], *, seed: int, share: float = 0.55) -> np.ndarray:
    """Random classes with holes, diagonal touches and a corner of nodata."""
    classes = (np.random.default_rng(seed).random(shape_hw) < share).astype("uint8")
    classes[: shape_hw[0] // 4, : shape_hw[1] // 4] = 255
    return classes


def flood(classes: np.ndarray) -> list[list[tuple[int, int]]]:
    """Groups of landslide pixels that share an edge, by the slow obvious way, in reading order of first pixels."""
    left = {(int(r), int(c)) for r, c in zip(*np.nonzero(classes == 1), strict=True)}
    groups = []
    for start in sorted(left):
        if start not in left:
            continue
        left.discard(start)
        group, todo = [], [start]
        while todo:
            r, c = todo.pop()
            group.append((r, c))
            for near in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if near in left:
                    left.discard(near)
                    todo.append(near)
        groups.append(group)
    return groups


def layers_of(classes: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Class, probability and qa of a map, the last two at random."""
    generator = np.random.default_rng(seed)
    probability = np.where(classes == 255, 255, generator.integers(0, 255, classes.shape))
    qa = generator.integers(0, 2, classes.shape) * generator.integers(0, 16, classes.shape)
    return np.stack([classes, probability, qa]).astype("uint8")


def fed(
    path: Path,
    layers: np.ndarray,
    *,
    cuts: tuple[int, ...] = (),
    crs: Any = None,
    transform: Affine | None = None,
    **options: Any,
) -> PolygonSummary:
    """Write the polygons of rows that come in parts, cut before these rows."""
    edges = [0, *sorted(cut for cut in cuts if cut < layers.shape[1]), layers.shape[1]]
    with PolygonWriter(path, Frame(*layers.shape[1:], crs, transform), **options) as writer:
        for first, last in itertools.pairwise(edges):
            writer.add(layers[:, first:last])
        return writer.finish()


def written(
    folder: Path, classes: np.ndarray, *, crs: Any = UTM, transform: Affine = NORTH_UP, **options: Any
) -> tuple[PolygonSummary, dict[str, Any]]:
    """Write a map's polygons as GeoJSON; return what was said of it and what it holds."""
    path, crs = folder / "m.geojson", None if crs is None else CRS.from_user_input(crs)
    summary = fed(path, layers_of(classes), crs=crs, transform=transform, **options)
    return summary, json.loads(path.read_text())


def burnt(feature: dict[str, Any], shape_hw: tuple[int, int]) -> set[tuple[int, int]]:
    """The pixels of a feature in pixel coordinates, by GDAL's own rasteriser."""
    inside = rasterio.features.rasterize([feature["geometry"]], out_shape=shape_hw)
    return {(int(r), int(c)) for r, c in zip(*np.nonzero(inside), strict=True)}


def parsed(polygon: bytes) -> list[list[list[float]]]:
    """Return the rings of a little-endian well-known binary polygon."""
    order, kind, count = struct.unpack_from("<BII", polygon)
    assert (order, kind) == (1, 3)
    at, rings = 9, []
    for _ in range(count):
        (points,) = struct.unpack_from("<I", polygon, at)
        rings.append(np.frombuffer(polygon, "<f8", 2 * points, at + 4).reshape(-1, 2).tolist())
        at += 4 + 16 * points
    assert at == len(polygon)
    return rings
