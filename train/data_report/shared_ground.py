"""Ground that two splits share: what is learned there is asked for there, and the figures flatter.

Told by the windows of one scene, by the rectangles that georeferenced images cover, and by what images show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.paths import resolved

from .examined_samples import PHASE_1, ExaminedSample
from .shared_content import shared_content

SPLIT_PAIRS: Final = (("train", "val"), ("train", "test"), ("val", "test"), (PHASE_1, "val"), (PHASE_1, "test"))
LEAST_SHARE: Final = 1e-3  # less is how neighbours' coordinates are rounded


@dataclass(frozen=True)
class SharedGround:
    """Two images of different splits that show the same ground.

    Attributes:
        first: split (or `phase 1`) and path of the one.
        second: split and path of the other.
        share: of the smaller image that both show, 0 to 1.
        known_by: `window`, `coordinates` or `content`.
        correlation: of the pixels that both show; None where they were not compared.
        turned: quarter turns, anticlockwise, by which the second becomes like the first.
        mirrored: whether it must be mirrored before.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    share: float
    known_by: str
    correlation: float | None = None
    turned: int = 0
    mirrored: bool = False


def shared_ground(examined: Sequence[ExaminedSample]) -> list[SharedGround]:
    """Return the pairs of images that share ground across splits, the worst first; a pair once."""
    of_split = {split: [one for one in examined if one.split == split] for pair in SPLIT_PAIRS for split in pair}
    found: dict[tuple[tuple[str, str], tuple[str, str]], SharedGround] = {}
    for first, second in SPLIT_PAIRS:
        one, other = of_split[first], of_split[second]
        # Places are exact, so they come first, and content says nothing more of a pair that they know.
        for shared in (*_by_place(one, other), *_by_content(one, other)):
            found.setdefault((shared.first, shared.second), shared)
    return sorted(found.values(), key=lambda shared: (-shared.share, shared.first, shared.second))


def _by_place(first: Sequence[ExaminedSample], second: Sequence[ExaminedSample]) -> list[SharedGround]:
    found = []
    ours = [(one, one.facts.footprint) for one in first if one.facts is not None and one.facts.footprint is not None]
    systems = np.array([footprint.crs for _, footprint in ours])
    bounds = np.array([footprint.bounds_xyxy for _, footprint in ours]).reshape(-1, 4)
    for other in second:
        footprint = None if other.facts is None else other.facts.footprint
        if footprint is not None:
            shares = np.where(systems == footprint.crs, shares_of(bounds, footprint.bounds_xyxy), 0.0)
            found += [
                SharedGround(_name(ours[i][0]), _name(other), float(shares[i]), "coordinates")
                for i in np.flatnonzero(shares >= LEAST_SHARE).tolist()
            ]
    # Windows divide every scene of their source, so there are few.
    windows = [(one, resolved(one.sample.image)) for one in first if one.sample.source.windows]
    for other in second if windows else ():
        path = resolved(other.sample.image)
        for one in (one for one, scene in windows if scene == path):
            share = float(shares_of(np.array([one.sample.window_ltrb]), other.sample.window_ltrb)[0])
            if share >= LEAST_SHARE:
                found.append(SharedGround(_name(one), _name(other), share, "window"))
    return found


def shares_of(rectangles: NDArray[Any], one: Sequence[float]) -> NDArray[np.float64]:
    """Return which share of the smaller one two rectangles both cover, for each of (N, 4) and one; 0 to 1.

    A rectangle is two corners, the one with the least coordinates first.
    """
    low, high = np.maximum(rectangles[:, :2], one[:2]), np.minimum(rectangles[:, 2:], one[2:])
    areas = np.prod(rectangles[:, 2:] - rectangles[:, :2], axis=1)
    smaller = np.minimum(areas, (one[2] - one[0]) * (one[3] - one[1]))
    return np.asarray(np.prod(np.maximum(high - low, 0), axis=1) / np.maximum(smaller, np.finfo(np.float64).tiny))


def _by_content(first: Sequence[ExaminedSample], second: Sequence[ExaminedSample]) -> list[SharedGround]:
    ours = [(one, one.facts.keypoints) for one in first if one.facts is not None and one.facts.keypoints is not None]
    theirs = [(one, one.facts.keypoints) for one in second if one.facts is not None and one.facts.keypoints is not None]
    return [
        SharedGround(
            _name(ours[pair.first][0]),
            _name(theirs[pair.second][0]),
            pair.share,
            "content",
            pair.correlation,
            pair.turned,
            pair.mirrored,
        )
        for pair in shared_content([keypoints for _, keypoints in ours], [keypoints for _, keypoints in theirs])
    ]


def _name(one: ExaminedSample) -> tuple[str, str]:
    return one.split, str(one.sample.image)
