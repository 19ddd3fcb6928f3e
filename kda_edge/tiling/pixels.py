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


def unmasked(
    image: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return an image that may be a NumPy masked array as plain pixels, and where they are valid.

    Args:
        image: (H, W, C); a pixel that is masked in any band is not valid.
        valid: (H, W), or None where every pixel is; may be masked itself.

    Returns:
        The pixels, without a copy; and (H, W), or None where every pixel is valid.
    """
    if isinstance(valid, np.ma.MaskedArray):
        valid = valid.filled(False)
    if not isinstance(image, np.ma.MaskedArray):
        return image, valid
    masked, image = np.ma.getmask(image), np.ma.getdata(image, subok=False)
    if masked is np.ma.nomask:
        return image, valid
    known = np.asarray(~np.asarray(masked, np.bool_).any(axis=2))
    return image, known if valid is None else known & valid


@dataclass(frozen=True)
class ArraySource:
    """An image in memory.

    Attributes:
        image: (H, W, C), or a masked array of that shape.
        valid: (H, W), or None where every pixel is; what is masked, NaN or infinite is never valid.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_] | None = None

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return a window of the image and where it is valid."""
        here = np.s_[row0:row1, col0:col1]
        image, valid = unmasked(self.image[here], None if self.valid is None else self.valid[here])
        if valid is None:
            valid = np.ones(image.shape[:2], np.bool_)
        return Pixels(image, valid & np.isfinite(image).all(axis=2) if image.dtype.kind == "f" else valid)
