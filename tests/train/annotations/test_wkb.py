"""Polygons of well-known binary are read as they were packed, in either byte order."""

from __future__ import annotations

import struct

import pytest

from kda_edge.errors import DataError
from kda_edge.train.annotations.wkb import polygons_of_wkb

OUTER = ((0.0, 0.0), (4.0, 0.5), (4.0, 4.0), (0.0, 0.0))
HOLE = ((1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 1.0))


def polygon(end: str, *rings: tuple[tuple[float, float], ...]) -> bytes:
    content = struct.pack(f"{end}BII", end == "<", 3, len(rings))
    for ring in rings:
        content += struct.pack(f"{end}I", len(ring)) + b"".join(struct.pack(f"{end}dd", *point) for point in ring)
    return content


@pytest.mark.parametrize("end", ["<", ">"])
def test_polygons_and_multi_polygons_keep_their_holes(end: str) -> None:
    one, other = polygon(end, OUTER, HOLE), polygon("<", HOLE)
    assert polygons_of_wkb(one) == [(OUTER, HOLE)]
    several = struct.pack(f"{end}BII", end == "<", 6, 2) + one + other
    assert polygons_of_wkb(several) == [(OUTER, HOLE), (HOLE,)]
    assert polygons_of_wkb(polygon(end)) == []


@pytest.mark.parametrize("cut", [0, 4, 8, 12, 30])
def test_what_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(DataError, match="cut short"):
        polygons_of_wkb(polygon("<", OUTER)[:cut])


def test_lines_and_points_are_refused_by_their_type() -> None:
    with pytest.raises(DataError, match="of type 1 of WKB, which is no polygon"):
        polygons_of_wkb(struct.pack("<BIdd", 1, 1, 0, 0))
