"""Augmentation of crops: one geometric warp and a colour jitter, both pure functions of a random generator.

The paper augments by rotation and flips. Scale and colour are added because sensors and seasons differ more between
data sets than anything that rotation covers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError


@dataclass(frozen=True)
class Augmentation:
    """How far crops are varied.

    Attributes:
        rotate: whether crops are turned by any angle.
        flip: whether crops are mirrored, each axis with probability 1/2.
        scale: smallest and largest magnification, log-uniform.
        colour: strength of brightness, contrast, saturation, gain and gamma changes, 0 (none) to 1.
    """

    rotate: bool = True
    flip: bool = True
    scale: tuple[float, float] = (0.75, 1.5)
    colour: float = 0.4

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high < math.inf:
            raise UsageError(f"scale must be two magnifications above 0, the lower one first, not {low:g} {high:g}")
        if not 0 <= self.colour <= 1:
            raise UsageError(f"colour must lie between 0 and 1, not {self.colour:g}")


@dataclass(frozen=True)
class Warp:
    """A crop as a map from its pixels to the source's: a similarity about a centre.

    Attributes:
        centre_xy: position in the source that becomes the centre of the crop, px.
        matrix: 2 x 2, source offset from crop offset.
        crop_px: side of the crop.
    """

    centre_xy: tuple[float, float]
    matrix: NDArray[np.float64]
    crop_px: int

    @property
    def reach_px(self) -> int:
        """Half side of the square of source pixels about the centre that the crop can touch, with 2 px to spare."""
        half = self.crop_px / 2
        return int(np.ceil(np.abs(self.matrix).sum(axis=1).max() * half)) + 2

    def apply(self, pixels: NDArray[Any], origin_xy: tuple[int, int], *, nearest: bool) -> NDArray[Any]:
        """Cut the crop out of a window of the source whose upper left pixel is `origin_xy`.

        Beyond the window's border the source is reflected, as the runtime pads small scenes.
        """
        half = (self.crop_px - 1) / 2
        # Pixel centres: the crop's centre lies at (half, half), the source's at centre - 0.5 in index coordinates.
        centre = np.array(self.centre_xy) - 0.5 - np.array(origin_xy)
        shift = centre - self.matrix @ np.array([half, half])
        affine = np.hstack([self.matrix, shift[:, None]])
        flags = (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        warped: NDArray[Any] = cv2.warpAffine(
            pixels, affine, (self.crop_px, self.crop_px), flags=flags, borderMode=cv2.BORDER_REFLECT_101
        )
        return warped


def random_warp(
    rng: np.random.Generator, augmentation: Augmentation, centre_xy: tuple[float, float], crop_px: int
) -> Warp:
    """Draw the rotation, mirroring and magnification of a crop."""
    angle = rng.uniform(0, 2 * np.pi) if augmentation.rotate else 0.0
    low, high = augmentation.scale
    magnification = np.exp(rng.uniform(np.log(low), np.log(high)))
    mirror = np.where(rng.random(2) < 0.5, -1.0, 1.0) if augmentation.flip else np.ones(2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Warp(centre_xy, rotation @ np.diag(mirror) / magnification, crop_px)


def jitter_colour(image: NDArray[np.float32], rng: np.random.Generator, strength: float) -> NDArray[np.float32]:
    """Vary the colours of an image.

    Args:
        image: (H, W, 3), 0..1 over the declared value range.
        rng: as many draws are taken whatever the strength, so that it alone changes.
        strength: 0 (unchanged) to 1 (brightness, contrast and saturation between none and double).

    Returns:
        (H, W, 3), 0..1.
    """
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    gamma = np.exp(strength * rng.uniform(-0.5, 0.5))
    gain = 1 + 0.25 * strength * rng.uniform(-1, 1, 3)
    if strength == 0:
        return image
    varied = image * np.asarray(brightness * gain, np.float32)
    mean = varied.mean(dtype=np.float64)
    varied = (varied - mean) * contrast + mean
    grey = varied.mean(axis=2, keepdims=True)
    varied = np.clip((varied - grey) * saturation + grey, 0, 1) ** gamma
    return np.asarray(varied, np.float32)
