"""Polygons cut along the antimeridian into parts in -180 to 180 degrees, as RFC 7946, 3.1.9, asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kda_edge.ground.ground import Floats

Rings = list[Floats]

EDGE: Final = 180.0  # degrees


class _Crossing(NamedTuple):
    """Where an edge crosses the line; crossings sort as they follow one another to the north.

    Attributes:
        lat: where, degrees.
        order: of those that cross it in one point, as they would cross a line a little further inside.
    """

    lat: float
    order: float

    @classmethod
    def of(cls, inner: Floats, outer: Floats, line: float) -> _Crossing:
        """Return the crossing of an edge from one side to the line, or beyond."""
        (x0, y0), (x1, y1) = inner.tolist(), outer.tolist()
        slope = (y1 - y0) / (x1 - x0)
        return cls(y1 if x1 == line else y0 + (line - x0) * slope, slope if x0 > line else -slope)


class _Chain(NamedTuple):
    """Points of a ring, (N, 2), on one side of the line, and where it comes to that side and leaves it."""

    points: Floats
    comes: _Crossing
    leaves: _Crossing


def parts(rings: Rings, decimals: int) -> list[Rings]:
    """Return a polygon as polygons whose longitudes lie in -180 to 180 degrees; as it is where they do already.

    Args:
        rings: closed, (N, 2) each, longitude and latitude, the exterior first and counter-clockwise, holes clockwise;
            longitudes run on across the antimeridian.
        decimals: that latitudes on the antimeridian are rounded to.
    """
    west, east = float(rings[0][:, 0].min()), float(rings[0][:, 0].max())
    if west >= -EDGE and east <= EDGE:
        return [rings]
    line = EDGE if east > EDGE else -EDGE
    left, right = (_half(rings, line, decimals, left=left) for left in (True, False))
    within, beyond = (left, right) if line == EDGE else (right, left)
    turned = [[ring - np.array([2 * line, 0.0]) for ring in polygon] for polygon in beyond]
    return [part for polygon in (*within, *turned) for part in parts(polygon, decimals)]


def _half(rings: Rings, line: float, decimals: int, *, left: bool) -> list[Rings]:
    """Return the polygons that lie left or right of a meridian; points on it count as beyond it."""
    chains: list[_Chain] = []
    whole: Rings = []
    for number, ring in enumerate(rings):
        lon = ring[:-1, 0]
        inside = lon < line if left else lon > line
        if number == 0 and (inside | (lon == line)).all():
            return [rings]
        if inside.all():
            whole.append(ring[:-1])
        elif inside.any():
            chains += _chains(ring[:-1], inside, line)
    made: list[Rings] = []
    holes: Rings = []
    for ring in _untangled([*_joined(chains, line, decimals), *whole]):
        closed = np.concatenate([ring, ring[:1]])
        if _twice_area(ring) > 0:
            made.append([closed])
        else:
            holes.append(closed)
    for hole in holes:
        middle = (hole[0] + hole[1]) / 2  # of an edge: rings meet at corners only
        next((polygon for polygon in made if _holds(polygon[0], middle)), made[0]).append(hole)
    return made


def _chains(points: Floats, inside: npt.NDArray[np.bool_], line: float) -> Iterator[_Chain]:
    for first in np.flatnonzero(inside & ~np.roll(inside, 1)).tolist():
        length = int(np.argmin(np.roll(inside, -first)))
        run = points[(first + np.arange(-1, length + 1)) % len(points)]  # with the points before and behind
        yield _Chain(run[1:-1], _Crossing.of(run[1], run[0], line), _Crossing.of(run[-2], run[-1], line))


def _joined(chains: Sequence[_Chain], line: float, decimals: int) -> Iterator[Floats]:
    """Join chains where the line lies in the polygon: between a crossing and the next, two by two from the south."""
    crossings = sorted(
        [(chain.comes, number, True) for number, chain in enumerate(chains)]
        + [(chain.leaves, number, False) for number, chain in enumerate(chains)]
    )
    next_of: dict[int, int] = {}
    for (_, south, comes), (_, north, _) in zip(crossings[::2], crossings[1::2], strict=True):
        next_of |= {north: south} if comes else {south: north}
    while next_of:
        number, points = next(iter(next_of)), []
        while number in next_of:
            chain = chains[number]
            ends = (np.array([[line, round(end.lat, decimals) + 0.0]]) for end in (chain.comes, chain.leaves))
            points += [next(ends), chain.points, next(ends)]
            number = next_of.pop(number)
        ring = np.concatenate(points)
        yield ring[np.any(ring != np.roll(ring, 1, axis=0), axis=1)]  # no point twice in a row


def _untangled(rings: Rings) -> Iterator[Floats]:
    """Take rings apart, and join them, where they meet: none touches itself, none parts what another surrounds.

    An outline and its hole may meet at a pixel's corner; cut open, they are one ring that meets itself there.

    Args:
        rings: not closed, what they surround on their left.
    """
    points = np.concatenate(rings) if rings else np.empty((0, 2))
    ends = np.cumsum([len(ring) for ring in rings])
    after = np.arange(1, len(points) + 1)
    after[ends - 1] = ends - [len(ring) for ring in rings]
    place = np.unique(points, axis=0, return_inverse=True)[1].reshape(-1)
    before = np.argsort(after)
    for meeting in np.flatnonzero(np.bincount(place) > 1).tolist():
        here = np.flatnonzero(place == meeting)
        leaving = points[after[here]] - points[here]
        back = points[before[here]] - points[here]
        angle = [np.arctan2(vectors[:, 1], vectors[:, 0]) for vectors in (back, leaving)]
        # To the sharpest left: what leaves first, clockwise from where it came from.
        left = np.argmin((angle[0][:, None] - angle[1]) % (2 * np.pi), axis=1)
        after[before[here]] = here[left]
    seen = np.zeros(len(points), np.bool_)
    for first in range(len(points)):
        walked: list[int] = []
        step_at: dict[int, int] = {}  # of the walk, by place
        at = first
        while not seen[at]:
            seen[at] = True
            met = step_at.get(int(place[at]))
            if met is not None:
                yield points[walked[met:]]
                for left_behind in walked[met:]:
                    del step_at[int(place[left_behind])]
                del walked[met:]
            step_at[int(place[at])] = len(walked)
            walked.append(at)
            at = int(after[at])
        if walked:
            yield points[walked]


def _twice_area(ring: Floats) -> float:
    x, y = (ring - ring[0]).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _holds(ring: Floats, point: Floats) -> bool:
    """Whether a point lies in a closed ring: whether a ray from it to the north crosses an odd number of edges."""
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    crossed = (x0 <= point[0]) != (x1 <= point[0])
    x0, y0, x1, y1 = (values[crossed] for values in (x0, y0, x1, y1))
    return bool(np.count_nonzero(y0 + (point[0] - x0) / (x1 - x0) * (y1 - y0) > point[1]) % 2)
