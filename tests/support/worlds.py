"""Small worlds to learn from: green ground with bright scars, made on the spot."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning


def scar(rng: np.random.Generator, height_px: int, width_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3) uint8 and its mask (H, W) 0/1 with one bright ellipse."""
    rows, cols = np.mgrid[:height_px, :width_px]
    row, col = rng.uniform(0.3, 0.7) * height_px, rng.uniform(0.3, 0.7) * width_px
    inside = ((rows - row) / (0.25 * height_px)) ** 2 + ((cols - col) / (0.2 * width_px)) ** 2 < 1
    image = np.where(inside[..., None], (190, 170, 140), (60, 100, 50)) + rng.normal(0, 8, (height_px, width_px, 3))
    return np.clip(image, 0, 255).astype(np.uint8), inside.astype(np.uint8)


def write_image(path: Path, pixels: np.ndarray, **profile: Any) -> Path:
    """Write (H, W) or (H, W, C) pixels in the format of the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    driver = {".tif": "GTiff", ".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[path.suffix]
    options = {"WEBP": {"lossless": "YES"}}.get(driver, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver=driver,
            height=layers.shape[1],
            width=layers.shape[2],
            count=layers.shape[0],
            dtype=layers.dtype,
            **options,
            **profile,
        ) as dataset:
            dataset.write(layers)
    return path


def write_data_file(path: Path, text: str) -> Path:
    """Write a TOML file that describes training data; return its path."""
    path.write_text(text, encoding="utf-8")
    return path
