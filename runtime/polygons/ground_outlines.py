"""Outlines drawn in longitude and latitude, and the ground they cover, many polygons at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from kda_edge.ground.ground import Floats, Ground

from .pixel_outlines import Rings

Ints = npt.NDArray[np.int64]

CHUNK: Final = 2**17  # pixel corners looked up at once


def drawn(ground: Ground, rings: Rings) -> tuple[Floats, Floats]:
    """Return longitude and latitude of each point, degrees, (2, P), and the area of each polygon, m2, (N,).

    The area goes through every pixel corner that an outline passes, so the areas of pixels add up to the areas of
    polygons. No ring jumps across the antimeridian; its longitudes run on instead.

    Args:
        ground: where the pixels lie.
        rings: at the points to draw; an edge may pass further pixel corners.

    Raises:
        SceneError: a point has no longitude and latitude.
    """
    lonlat = ground.lonlat(np.stack([rings.col, rings.row]))
    metres = ground.metres(lonlat)
    after = rings.following
    near = metres - np.repeat(
        metres[:, rings.point_starts], _counts(rings.point_ends), axis=1
    )  # small: digits are kept
    twice = near[0] * near[1, after] - near[0, after] * near[1]
    twice[_long(rings)] += np.concatenate([np.zeros(0), *_beyond_chords(ground, rings, metres)])
    of_rings = np.add.reduceat(twice, rings.point_starts) / 2.0
    # An exterior and a hole have opposite signs, and which is which depends on the transform.
    areas = np.abs(np.add.reduceat(of_rings, rings.ring_starts))
    return _continuous(lonlat, rings), areas


def wound(rings: Rings, points: Floats) -> npt.NDArray[np.bool_]:
    """Return for each ring, (R,), whether its points, (2, P), run the other way round than on the pixel grid."""
    near = points - np.repeat(points[:, rings.point_starts], _counts(rings.point_ends), axis=1)
    after = rings.following
    area = np.add.reduceat(near[0] * near[1, after] - near[0, after] * near[1], rings.point_starts)
    exterior = np.zeros(len(area), np.bool_)
    exterior[rings.ring_starts] = True
    return np.asarray((area > 0) != exterior)


def _counts(ends: Ints) -> Ints:
    return np.diff(ends, prepend=0)


def _long(rings: Rings) -> Ints:
    """Return the points whose edge passes further pixel corners."""
    after = rings.following
    return np.flatnonzero(np.abs(rings.col[after] - rings.col) + np.abs(rings.row[after] - rings.row) > 1)


def _beyond_chords(ground: Ground, rings: Rings, metres: Floats) -> Iterator[Floats]:
    """Yield twice the area between each long edge's chord and the line through the pixel corners that it passes."""
    edges = _long(rings)
    after = rings.following[edges]
    step = np.stack([rings.col[after] - rings.col[edges], rings.row[after] - rings.row[edges]])
    inner = np.abs(step).sum(axis=0) - 1
    ends = np.cumsum(inner)
    first = 0
    while first < len(edges):
        passed = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, passed + CHUNK, side="right")))
        part = slice(first, last)
        count = inner[part]
        owner = np.repeat(np.arange(last - first), count)
        begins = np.cumsum(count) - count
        along = np.arange(len(owner)) - begins[owner] + 1
        start = np.stack([rings.col[edges[part]], rings.row[edges[part]]])
        corner = ground.metres(ground.lonlat(start[:, owner] + np.sign(step[:, part])[:, owner] * along))
        origin = metres[:, edges[part]]
        corner = corner - origin[:, owner]
        chord = metres[:, after[part]] - origin
        following = np.roll(corner, -1, axis=1)
        following[:, np.append(begins[1:], len(owner)) - 1] = chord
        yield np.add.reduceat(corner[0] * following[1] - following[0] * corner[1], begins)
        first = last


def _continuous(lonlat: Floats, rings: Rings) -> Floats:
    """Return the points with whole turns added: no ring jumps, holes lie in exteriors, middles within 180 degrees."""
    starts, counts = rings.point_starts, _counts(rings.point_ends)
    turns = np.cumsum(np.round(np.diff(lonlat[0], prepend=lonlat[0, :1]) / 360.0))
    longitude = lonlat[0] - 360.0 * (turns - np.repeat(turns[starts], counts))
    west, east = np.minimum.reduceat(longitude, starts), np.maximum.reduceat(longitude, starts)
    exterior = rings.ring_starts
    middle = (west[exterior] + east[exterior]) / 2.0
    westmost = west[exterior] - 360.0 * np.floor((middle + 180.0) / 360.0)
    inside = np.repeat(westmost, _counts(rings.ring_ends)) - 1e-6  # degrees, more than a rounding error
    return np.stack([longitude + 360.0 * np.repeat(np.ceil((inside - west) / 360.0), counts), lonlat[1]])
