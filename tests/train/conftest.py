"""Data sets of the small worlds, and a teacher for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from worlds import scar, write_image


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder data set of 20 images of different sizes, PNG, with masks of 0 and 255."""
    rng = np.random.default_rng(0)
    root = tmp_path / "scars"
    for i in range(20):
        image, mask = scar(rng, 48 + i, 64 - i)
        write_image(root / "images" / f"s{i:02}.png", image)
        write_image(root / "masks" / f"s{i:02}.png", mask * 255)
    return root


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A scene data set: a GeoTIFF of 160 x 192 px with nodata 0, mask and valid mask."""
    rng = np.random.default_rng(1)
    image, mask = scar(rng, 160, 192)
    image = np.maximum(image, 1)
    image[:, :40] = 0
    valid = (image != 0).any(axis=2).astype(np.uint8)
    valid[:10] = 0
    root = tmp_path / "ortho"
    place = {"crs": "EPSG:32647", "transform": rasterio.Affine(0.5, 0, 600000, 0, -0.5, 3000000), "nodata": 0}
    write_image(root / "images" / "a.tif", image, tiled=True, blockxsize=64, blockysize=64, **place)
    write_image(root / "masks" / "a.tif", mask)
    write_image(root / "valid" / "a.tif", valid)
    return root


@pytest.fixture(scope="session")
def vit_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State dict of timm's `test_vit`, a small ViT, made on the spot."""
    import timm

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "test_vit.pt"
    torch.save(timm.create_model("test_vit", pretrained=False).state_dict(), path)
    return path
