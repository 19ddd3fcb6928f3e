"""The corners of outlines on the pixel grid: where they are, how the outline turns there, and whose it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

# How an outline turns: around the quadrant 0 upper left, 1 upper right, 2 lower left or 3 lower right of the corner,
# plus CONVEX where that quadrant is landslide. RIGHT: the edge along the row goes right from here, else left. DOWN: the
# edge along the column goes down, else up.
RIGHT, DOWN, QUADRANT, CONVEX = 1, 2, 3, 4

# By the four pixels around a corner (bit = quadrant): how the outline turns, and inside which quadrant its landslide
# is. X is landslide. Two pixels that meet at the corner only count as two landslides; the tables hold the upper one.
#
#   quadrants     one pixel        all but one      two that meet at the corner
#     0 | 1         . | .             . | X            X | .
#     --+--         --+--             --+--            --+--
#     2 | 3         . | X             X | X            . | X
#   _KIND         CONVEX | 3          0              CONVEX | 0    (of the lower: CONVEX | 3)
#   _INSIDE       3                   3              0             (of the lower: 3)
_KIND: Final = np.zeros(16, np.uint8)
_INSIDE: Final = np.zeros(16, np.uint8)
for _quadrant in range(4):
    _KIND[1 << _quadrant], _INSIDE[1 << _quadrant] = CONVEX | _quadrant, _quadrant
    _KIND[15 ^ (1 << _quadrant)], _INSIDE[15 ^ (1 << _quadrant)] = _quadrant, QUADRANT - _quadrant
_KIND[0b1001], _INSIDE[0b1001] = CONVEX | 0, 0
_KIND[0b0110], _INSIDE[0b0110] = CONVEX | 1, 1
_MEET: Final = np.isin(np.arange(16), [0b1001, 0b0110])


@dataclass(frozen=True)
class Corners:
    """Corners of outlines.

    Attributes:
        owner: index of the landslide, (M,).
        position: row times (width + 1) plus column, of pixel corners, (M,).
        kind: how the outline turns, (M,); see above.
    """

    owner: Ints
    position: Ints
    kind: Bytes

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, chosen: Any) -> Corners:
        return Corners(self.owner[chosen], self.position[chosen], self.kind[chosen])

    def owned_by(self, owner: Ints | int) -> Corners:
        """Return the corners as those of another landslide, or of one each."""
        return Corners(np.broadcast_to(np.asarray(owner), self.position.shape), self.position, self.kind)

    def by_owner(self) -> Iterator[tuple[int, Corners]]:
        """Yield each owner with copies of its corners."""
        ordered = self[np.argsort(self.owner, kind="stable")]
        cuts = np.flatnonzero(np.diff(ordered.owner, prepend=-1))
        for first, last in itertools.pairwise([*cuts.tolist(), len(self)]):
            yield int(ordered.owner[first]), ordered[np.arange(first, last)]

    def in_reading_order(self) -> Corners:
        """Return the corners owner by owner, in reading order within each; at one position, first without RIGHT."""
        lowest = self.position.min(initial=np.iinfo(np.int64).max)
        span = self.position.max(initial=lowest) - lowest + 1
        return self[np.argsort((self.owner * span + self.position - lowest) * 2 + (self.kind & RIGHT))]


def joined(parts: Sequence[Corners]) -> Corners:
    """Return all corners of one part or more."""
    return Corners(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("owner", "position", "kind")))


def corners_of(slides: Bytes, labels: Labels, *, first_line: int) -> Corners:
    """Find the corners above each row but the first.

    Args:
        slides: 1 where landslide, (h, w), its first and last column 0.
        labels: 1 and up where landslide, one for pixels that share an edge, (h, w); the owner is one less.
        first_line: number of the line of corners between the first two rows.
    """
    stride = slides.shape[1]
    sides = slides[:, :-1] ^ slides[:, 1:]  # 1 where an outline runs along the right side of a pixel
    up, down = sides[:-1], sides[1:]
    turns = (up ^ down) | (up & down & (slides[:-1, :-1] ^ slides[1:, :-1]))
    at = np.flatnonzero(turns.view(np.bool_))
    corner_of_four = at + at // (stride - 1)
    offsets = np.array([0, 1, stride, stride + 1])  # of the quadrants
    pixels = slides.reshape(-1)
    around = np.zeros(len(at), np.uint8)
    for quadrant, offset in enumerate(offsets.tolist()):
        around |= pixels[corner_of_four + offset] << np.uint8(quadrant)
    meet = np.flatnonzero(_MEET[around])  # these corners count twice
    kind, inside = _KIND[around], _INSIDE[around]
    kind = np.concatenate([kind, kind[meet] ^ QUADRANT])
    inside = np.concatenate([inside, inside[meet] ^ QUADRANT])
    every = np.concatenate([np.arange(len(at)), meet])
    owner = labels.reshape(-1)[corner_of_four[every] + offsets[inside]].astype(np.int64) - 1
    return Corners(owner, at[every] + first_line * (stride - 1), kind)
