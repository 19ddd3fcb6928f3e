"""Ground with texture of all sizes, to cut tiles from: two seeds show two places."""

from __future__ import annotations

import cv2
import numpy as np


def textured_ground(seed: int, height_px: int, width_px: int) -> np.ndarray:
    """Return (H, W, 3) uint8: noise of many wavelengths, the longer the stronger, with some colour."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((height_px, width_px), np.float32)
    for sigma_px in (1, 2, 4, 8, 16, 32):
        noise = cv2.GaussianBlur(rng.normal(size=(height_px, width_px)).astype(np.float32), (0, 0), sigma_px)
        grey += noise / noise.std() * sigma_px**0.5
    levels = 120 + 40 * grey[..., None] / grey.std() * np.array([1.0, 0.9, 0.7]) + rng.normal(0, 2, (*grey.shape, 3))
    return np.clip(levels, 0, 255).astype(np.uint8)
