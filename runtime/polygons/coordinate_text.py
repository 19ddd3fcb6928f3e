"""Coordinates as the text of GeoJSON, many points at once: digits by array arithmetic, as `%.9f` would write them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from kda_edge.ground.ground import Floats

CHUNK: Final = 2**14  # points written in one go: their text takes 40 bytes each, and the masks over it as many
_ZERO, _BEFORE, _BEHIND = ord("0"), np.frombuffer(b"[,", np.uint8), np.frombuffer(b"],", np.uint8)


def texts_of(rings: list[Floats], decimals: int) -> Iterator[str]:
    """Yield each ring's points, such as `[[1.50,2.00],[3.25,4.00]]`.

    Formatting numbers one by one takes 180 ns each, and most rings are too short for arrays of their own to pay: all
    are written together, and cut.

    Args:
        rings: (N, 2) each, N from 1 on; numbers below 2**53 / 10**decimals, with no more decimals than are asked for.
        decimals: that are written; with 0 of them there is no point.
    """
    points = np.concatenate([np.empty((0, 2)), *rings])
    parts = [_text(points[first : first + CHUNK], decimals) for first in range(0, len(points), CHUNK)]
    text = "".join(part for part, _ in parts)
    length = np.concatenate([np.zeros(1, np.int64), *(lengths for _, lengths in parts)])
    ends = np.cumsum(length)[np.cumsum([0, *map(len, rings)])].tolist()
    for first, end in itertools.pairwise(ends):
        yield f"[{text[first : end - 1]}]"  # without the last comma


def _text(points: Floats, decimals: int) -> tuple[str, npt.NDArray[np.int64]]:
    """Return points, each with a comma behind it, and how many characters each takes."""
    numbers = points.reshape(-1)
    rest = np.rint(np.abs(numbers) * 10.0**decimals).astype(np.int64)
    digits = max(len(str(int(rest.max()))), decimals + 1)
    last = 1 + digits + (decimals > 0)  # behind a bracket or comma and a sign; 0 is a place that stays empty
    text = np.zeros((len(numbers), last + 1 + len(_BEHIND)), np.uint8)
    text[:, 0] = np.tile(_BEFORE, len(points))
    text[:, 1] = np.where((numbers < 0) & (rest > 0), ord("-"), 0)
    text[1::2, last + 1 :] = _BEHIND
    at = last
    for digit in range(digits):
        if digit == decimals and decimals:
            text[:, at] = ord(".")
            at -= 1
        tenth = rest // 10
        text[:, at] = rest - tenth * 10 + _ZERO
        if digit > decimals:
            text[rest == 0, at] = 0  # no zeros before the first digit
        rest, at = tenth, at - 1
    written = text != 0
    lengths = np.count_nonzero(written.reshape(len(points), -1), axis=1)
    return text[written].tobytes().decode("ascii"), lengths
