"""Polygons from well-known binary (WKB), as GDAL hands geometries on.

Source: OGC 06-103r4, Simple Feature Access, section 8.2: byte order, type, then counts and points x, y.
"""

from __future__ import annotations

import struct
from typing import Final

from kda_edge.errors import DataError

from .areas import Ring

POLYGON: Final = 3
MULTI_POLYGON: Final = 6
FLAT: Final = 0x0FFFFFFF  # what is left of a type without its flags for Z, M and SRID


def polygons_of_wkb(data: bytes) -> list[tuple[Ring, ...]]:
    """Return the polygons of a geometry without Z or M, each its outer ring and its holes.

    Raises:
        DataError: it is neither a polygon nor several, or cut short.
    """
    try:
        return _read(data, 0)[0]
    except struct.error as error:
        raise DataError("a geometry is cut short; write the layer again") from error


def _read(data: bytes, at: int) -> tuple[list[tuple[Ring, ...]], int]:
    """Return the polygons of the geometry that begins there, and where it ends."""
    (order,) = struct.unpack_from("B", data, at)
    end = "<" if order else ">"
    kind, count = struct.unpack_from(f"{end}II", data, at + 1)
    at += 9
    if kind == MULTI_POLYGON:
        polygons = []
        for _ in range(count):
            inside, at = _read(data, at)
            polygons += inside
        return polygons, at
    if kind != POLYGON:
        raise DataError(f"a geometry is of type {kind & FLAT} of WKB, which is no polygon; leave lines and points out")
    rings = []
    for _ in range(count):
        (points,) = struct.unpack_from(f"{end}I", data, at)
        flat = struct.unpack_from(f"{end}{2 * points}d", data, at + 4)
        rings.append(tuple(zip(flat[::2], flat[1::2], strict=True)))
        at += 4 + 16 * points
    return [tuple(rings)] if rings else [], at
