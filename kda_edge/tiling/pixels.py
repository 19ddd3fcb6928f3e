"""Pixels of a window, and the protocol of a source that is read by rows and columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Pixels(NamedTuple):
    """What a window of a source holds.

    Attributes:
        image: (H, W, C).
        valid: (H, W), True where the image has data; never where `lost` is True.
        lost: (H, W), True where the pixels could not be read; None: all could.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_]
    lost: NDArray[np.bool_] | None = None


class Source(Protocol):
    """Whatever can be read by rows and columns."""

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return what a window holds; the ends are excluded. A pixel with a NaN or an infinity must not be valid."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """An image in memory.

    Attributes:
        image: (H, W, C).
        valid: (H, W), or None where every pixel is; NaN and infinity are never valid.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_] | None = None

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return a window of the image and where it is valid."""
        image = self.image[row0:row1, col0:col1]
        valid = np.ones(image.shape[:2], np.bool_) if self.valid is None else self.valid[row0:row1, col0:col1]
        return Pixels(image, valid & np.isfinite(image).all(axis=2) if image.dtype.kind == "f" else valid)
