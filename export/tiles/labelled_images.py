"""Landslide IoU of an engine on images with masks, tiled and blended as the runtime maps a scene."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError, SceneError, quantity
from kda_edge.manifest import InputContract
from kda_edge.metrics import ConfusionCounts
from kda_edge.paths import is_dir
from kda_edge.progress.callbacks import Progress, counted, silent
from kda_edge.rasters.strict_window import StrictBands
from kda_edge.rasters.whole_rasters import whole_fault
from kda_edge.runtime.geo.gdal import GDAL_ERRORS, gdal_session, one_line, open_raster
from kda_edge.runtime.mapping.scene_tiles import read_undamaged
from kda_edge.runtime.mapping.value_range import with_values_mapped
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.pixels import ArraySource
from kda_edge.tiling.predict import predict
from kda_edge.tiling.tile_answers import Engine
from kda_edge.tiling.tile_grid import TileGrid, default_overlap_px

from .imagery_tiles import RASTER_SUFFIXES

IMAGES, MASKS, VALID = "images", "masks", "valid"
LANDSLIDE_VALUES: Final = (1, 255)


@dataclass(frozen=True)
class LabelledImage:
    """An image on disk and what is known of it.

    Attributes:
        image: path of the pixels.
        mask: path of the mask: 0 background, 1 or 255 landslide.
        valid: path of a mask whose zeros are not judged; None: all are.
    """

    image: Path
    mask: Path
    valid: Path | None


@dataclass(frozen=True)
class Pixels:
    """The content of a labelled image.

    Attributes:
        image: (H, W, 3), raw.
        valid: (H, W), where the image holds data.
        landslide: (H, W), what the mask says.
        judged: (H, W), where image and mask may be judged.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_]
    landslide: NDArray[np.bool_]
    judged: NDArray[np.bool_]

    @property
    def sha256(self) -> str:
        """Digest of pixels and masks."""
        digest = hashlib.sha256()
        for part in (self.image, self.landslide, self.judged):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def labelled_images(folder: Path) -> list[LabelledImage]:
    """Return the images of a folder: `images/`, `masks/` with the same names, and `valid/` where there is one.

    Raises:
        SceneError: no such folders, or an image without a mask.
    """
    if not is_dir(folder / IMAGES) or not is_dir(folder / MASKS):
        raise SceneError(f"{folder} has no folders {IMAGES} and {MASKS}; give labelled images as --eval DIR with both")
    masks, valid = _by_stem(folder / MASKS), _by_stem(folder / VALID)
    found = []
    for stem, image in sorted(_by_stem(folder / IMAGES).items()):
        if stem not in masks:
            raise SceneError(f"{image} has no mask of its name in {folder / MASKS}; add it, or take the image away")
        found.append(LabelledImage(image, masks[stem], valid.get(stem)))
    if not found:
        raise SceneError(f"{folder / IMAGES} holds no imagery; put labelled images there")
    return found


def read_labelled(item: LabelledImage, contract: InputContract) -> Pixels:
    """Read image and masks.

    Raises:
        SceneError: unreadable, not of the contract's pixels, of another size than its mask, or a mask of other values.
    """
    with gdal_session():
        with open_scene(item.image, contract, any_gsd=True) as scene:
            image, valid = read_undamaged(scene, 0, scene.height_px, 0, scene.width_px)
        values = _layer(item.mask)
        judged = valid if item.valid is None else valid & (_layer(item.valid) != 0)
    if values.shape != valid.shape or judged.shape != valid.shape:
        raise SceneError(f"{item.mask} is not of the size of {item.image}; give masks of the images' own size")
    strange = sorted(set(np.unique(values).tolist()) - {0, *LANDSLIDE_VALUES})
    if strange:
        raise SceneError(f"the mask {item.mask} holds the value {strange[0]:g}; save masks with 0 and 255")
    return Pixels(image, valid, values != 0, judged)


def counts_on(
    images: Sequence[LabelledImage],
    engine: Engine,
    contract: InputContract,
    tile_px: int,
    threshold: float,
    *,
    progress: Progress = silent,
) -> ConfusionCounts:
    """Return pixels by truth and prediction, all images in one pool.

    Args:
        images: at least one; read one after another.
        engine: see `kda_edge.tiling.predict.Engine`.
        contract: what the engine may be given.
        tile_px: side of its tile.
        threshold: probability from which a pixel counts as landslide.
        progress: told of the images that are done.

    Raises:
        SceneError: an image can't be read.
        EngineError: the engine failed on a tile.
    """
    total = ConfusionCounts()
    mapped = with_values_mapped(engine, contract, None)
    for item in counted(images, "landslide IoU of labelled images", progress):
        pixels = read_labelled(item, contract)
        probability = _probability(pixels, mapped, tile_px)
        judged = pixels.judged & np.isfinite(probability)
        total += _counted(probability >= np.float32(threshold), pixels.landslide, judged)
    return total


def digests_of(images: Sequence[LabelledImage], contract: InputContract) -> Iterator[str]:
    """Yield the digest of each image with its masks."""
    for item in images:
        yield read_labelled(item, contract).sha256


def _probability(pixels: Pixels, engine: Engine, tile_px: int) -> NDArray[np.float32]:
    height_px, width_px = pixels.valid.shape
    grid = TileGrid(height_px, width_px, tile_px, default_overlap_px(tile_px))
    bands = list(predict(ArraySource(pixels.image, pixels.valid), grid, engine))
    failures = [failure for band in bands for failure in band.failures]
    if failures:
        raise EngineError(
            f"the engine failed on {quantity(len(failures), 'tile')} of a labelled image ({failures[0].reason})"
        )
    return np.concatenate([band.probability for band in bands])


def _counted(claimed: NDArray[np.bool_], landslide: NDArray[np.bool_], judged: NDArray[np.bool_]) -> ConfusionCounts:
    return ConfusionCounts(
        tp=int(np.count_nonzero(claimed & landslide & judged)),
        fp=int(np.count_nonzero(claimed & ~landslide & judged)),
        fn=int(np.count_nonzero(~claimed & landslide & judged)),
        tn=int(np.count_nonzero(~claimed & ~landslide & judged)),
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    if not is_dir(folder):
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in RASTER_SUFFIXES}


def _layer(path: Path) -> NDArray[Any]:
    try:
        with open_raster(path) as dataset:
            fault = whole_fault(dataset, path, (1,))
            found = StrictBands(path, dataset, (1,), judged=False).read_all(dataset)
    except GDAL_ERRORS as error:
        raise SceneError(f"{path} can't be read as a mask ({one_line(error)}); save it as PNG or TIFF") from error
    if fault is not None:
        raise SceneError(fault)
    if isinstance(found, list):
        raise SceneError(f"{path} is damaged ({found[-1]}); copy it again from its source")
    return found.image[..., 0]
