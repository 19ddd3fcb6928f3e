"""What a segmenter hands back: values, nothing that holds a file open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """What a model says of an image.

    Attributes:
        probability: of landslide, (H, W), 0..1.
        mask: (H, W), 1 where the probability reaches the model's threshold, else 0.
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class SceneResult:
    """What was made of a scene.

    Attributes:
        scene_path: the scene.
        map_path: GeoTIFF with the bands class, probability and qa.
        polygons_path: GeoJSON.
        picture_path: PNG.
        height_px: rows of scene and map.
        width_px: columns of scene and map.
        valid_px: pixels with data in the scene.
        landslide_px: pixels of class 1.
        polygons: how many were written, those below the least area left out.
        area_m2: their ground area; None where the pixels have no known place on Earth.
        tiles: in all.
        failed_tiles: tiles that the engine did not answer; where above 0, the map holds what is known.
        seconds: from opening the scene to the last file in place.
        notes: what a person should know before using the map, a sentence each.
    """

    scene_path: Path
    map_path: Path
    polygons_path: Path
    picture_path: Path
    height_px: int
    width_px: int
    valid_px: int
    landslide_px: int
    polygons: int
    area_m2: float | None
    tiles: int
    failed_tiles: int
    seconds: float
    notes: tuple[str, ...]
