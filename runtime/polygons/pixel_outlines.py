"""Closed rings from the corners of outlines, many at once, on the pixel grid."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np

from .connected_components import Components
from .pixel_corners import CONVEX, DOWN, QUADRANT, Ints


@dataclass(frozen=True)
class Rings:
    """The rings of polygons, each an exterior and then its holes; a ring's last point is joined with its first.

    Seen with columns to the right and rows upwards, exteriors run counter-clockwise and holes clockwise. Each begins
    at its first corner in reading order, and so are a polygon's holes ordered.

    Attributes:
        col: of each point, (P,).
        row: of each point, (P,).
        point_ends: one past the last point of each ring, (R,).
        ring_ends: one past the last ring of each polygon, (N,).
    """

    col: Ints
    row: Ints
    point_ends: Ints
    ring_ends: Ints

    @property
    def point_starts(self) -> Ints:
        """The first point of each ring, (R,)."""
        return np.append(0, self.point_ends)[:-1]

    @property
    def ring_starts(self) -> Ints:
        """The exterior of each polygon, (N,)."""
        return np.append(0, self.ring_ends)[:-1]

    @property
    def following(self) -> Ints:
        """The point after each, (P,)."""
        after = np.arange(1, len(self.col) + 1)
        after[self.point_ends - 1] = self.point_starts
        return after

    def area_px(self) -> Ints:
        """Return the pixels inside each polygon, (N,)."""
        after = self.following
        return np.add.reduceat(
            np.add.reduceat(self.col * (self.row[after] - self.row), self.point_starts), self.ring_starts
        )

    def with_points_every(self, edge_px: int) -> Rings:
        """Return the same rings with points on their longer edges, so that none is longer than this."""
        after = self.following
        length = np.abs(self.col[after] - self.col) + np.abs(self.row[after] - self.row)
        count = -(-length // edge_px)
        ends = np.cumsum(count)
        origin = np.repeat(np.arange(len(length)), count)
        along = (np.arange(len(origin)) - (ends - count)[origin]) * edge_px
        col = self.col[origin] + np.sign(self.col[after] - self.col)[origin] * along
        row = self.row[origin] + np.sign(self.row[after] - self.row)[origin] * along
        return Rings(col, row, ends[self.point_ends - 1], self.ring_ends)


def rings_of(components: Components) -> Rings:
    """Trace the outlines of components.

    A ring never touches itself: where a landslide touches itself at a pixel's corner, that corner belongs to two rings.
    """
    corners = components.corners
    owner, kind = corners.owner, corners.kind.copy()
    row, col = np.divmod(corners.position, components.width_px + 1)
    twin = np.flatnonzero((np.diff(corners.position) == 0) & (np.diff(owner) == 0))
    for one in (twin, twin + 1):  # two pixels of one landslide: turn around the two other pixels instead
        kind[one] = (kind[one] ^ DOWN) & ~np.uint8(CONVEX)
    along_row = np.arange(len(kind)) ^ 1  # corners lie in reading order: each edge's ends are neighbours
    high = row - row.min()
    wide = col - col.min()
    key = ((owner * (wide.max() + 1) + wide) * (high.max() + 1) + high) * 2 + (kind & DOWN) // DOWN
    order = np.argsort(key)
    along_col = np.empty_like(order)
    along_col[order] = order[np.arange(len(order)) ^ 1]
    quadrant, convex = kind & QUADRANT, kind & CONVEX != 0
    leaves_along_row = ((quadrant == 0) | (quadrant == 3)) == convex
    visits, point_ends = _walked(np.where(leaves_along_row, along_row, along_col))
    ring_owner = owner[visits[point_ends - 1]]
    ring_ends = np.cumsum(np.bincount(ring_owner, minlength=len(components)))
    return Rings(col[visits], row[visits], point_ends, ring_ends)


def _walked(following: Ints) -> tuple[Ints, Ints]:
    """Return the corners ring by ring and where each ring ends, rings in the order of their first corners."""
    after, seen = array("q", following.tobytes()), bytearray(len(following))
    visits, ends = array("q"), array("q")
    visit = visits.append
    for first in range(len(seen)):
        at = first
        if seen[at]:
            continue
        while not seen[at]:
            seen[at] = 1
            visit(at)
            at = after[at]
        ends.append(len(visits))
    return np.frombuffer(visits, np.int64), np.frombuffer(ends, np.int64)
