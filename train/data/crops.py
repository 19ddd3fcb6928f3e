"""Random crops of images and scenes, as a PyTorch data set.

Every crop is a pure function of (seed, epoch, item): the same whatever the number of workers, and after a resume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor
from torch.utils.data import Dataset

from kda_edge.manifest import InputContract
from kda_edge.tiling.fill_nodata import fill_nodata

from .augmentation import Augmentation, jitter_colour, random_warp
from .image_files import read_image, read_is_judged, read_mask
from .labels import BACKGROUND, IGNORED, LANDSLIDE
from .sources import Sample

CELL_PX: Final = 16  # scenes are searched for landslide and valid pixels on every 16th row and column
LANDSLIDE_SHARE: Final = 0.5  # of a scene's crops that are centred on landslide; unmeasured choice
MOST_PLACES: Final = 4096  # of a small image's landslide pixels that crops may be centred on
CACHE_BYTES: Final = 2 * 1024**3  # of small images kept in memory
CACHED_IMAGE_PX: Final = 2_000_000  # larger images are read by window


class Crops(Dataset[tuple[Tensor, Tensor]]):
    """Normalised crops (3, S, S) float32 and labels (S, S) uint8 (0, 1, 255 = not judged).

    `crop_px`, `epoch` and `channels_last` (the memory format of the crops) may be set between two passes over them.

    Args:
        samples: what to cut from.
        contract: how the pixels are declared and normalised.
        augmentation: how crops vary.
        crop_px: S of most epochs.
        seed: of everything random.
        landslide_share: of the crops of an image with landslide that are placed on it, inside the image all the same;
            None: half of those of a scene, and those of other images lie anywhere.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        contract: InputContract,
        augmentation: Augmentation,
        *,
        crop_px: int,
        seed: int,
        landslide_share: float | None = None,
    ) -> None:
        self.samples, self.contract, self.augmentation, self.seed = samples, contract, augmentation, seed
        self.crop_px, self.epoch, self.channels_last = crop_px, 0, False
        self.landslide_share = landslide_share
        self._places: dict[int, NDArray[np.int64]] = {}
        self._items = [i for i, sample in enumerate(samples) for _ in range(draws(sample, crop_px))]
        self._cells: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._cache: dict[int, tuple[NDArray[Any], NDArray[np.uint8]]] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def preload(self) -> None:
        """Read all small images that fit into memory now: worker processes then share them instead of reading anew."""
        for index, sample in enumerate(self.samples):
            if sample.height_px * sample.width_px <= CACHED_IMAGE_PX:
                self._read(index, sample.window_ltrb)

    def order(self) -> list[int]:
        """Return the items of the present epoch in their random order."""
        return [int(i) for i in np.random.default_rng([self.seed, self.epoch]).permutation(len(self))]

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, self.epoch, item])
        index = self._items[item]
        sample = self.samples[index]
        warp = random_warp(rng, self.augmentation, self._centre(rng, index), self.crop_px)
        left, top, right, bottom = sample.window_ltrb
        x, y, reach = math.floor(warp.centre_xy[0]), math.floor(warp.centre_xy[1]), warp.reach_px
        window = (max(left, x - reach), max(top, y - reach), min(right, x + reach), min(bottom, y + reach))
        image, labels = self._read(index, window)
        crop = warp.apply(image, window[:2], nearest=False).astype(np.float32)
        crop_labels = warp.apply(labels, window[:2], nearest=True)
        low, high = self.contract.value_range
        share = np.clip((crop - low) / (high - low), 0, 1).astype(np.float32)
        varied = jitter_colour(share, rng, self.augmentation.colour) * (high - low) + low
        normalised = (varied - np.asarray(self.contract.mean)) / np.asarray(self.contract.std)
        # In memory the pixels are (S, S, 3), as channels_last wants them.
        pixels = torch.from_numpy(np.ascontiguousarray(normalised, dtype=np.float32)).permute(2, 0, 1)
        if not self.channels_last:
            pixels = pixels.contiguous()
        return pixels, torch.from_numpy(np.ascontiguousarray(crop_labels))

    def _centre(self, rng: np.random.Generator, index: int) -> tuple[float, float]:
        sample = self.samples[index]
        left, top, _, _ = sample.window_ltrb
        if sample.source.layout == "scenes":
            if index not in self._cells:
                self._cells[index] = _interesting_cells(sample, self.contract)
            landslide, valid = self._cells[index]
            share = LANDSLIDE_SHARE if self.landslide_share is None else self.landslide_share
            pool = landslide if len(landslide) and rng.random() < share else valid
            row, col = (pool[rng.integers(len(pool))] + rng.random(2)) * CELL_PX
            return left + min(float(col), sample.width_px), top + min(float(row), sample.height_px)
        # Anywhere where the crop lies inside the image, or covers all of it where the image is smaller.
        half = self.crop_px / 2
        x_low, x_high = sorted((half, sample.width_px - half))
        y_low, y_high = sorted((half, sample.height_px - half))
        x, y = rng.uniform(x_low, x_high), rng.uniform(y_low, y_high)
        if self.landslide_share is not None and rng.random() < self.landslide_share:
            places = self._landslide(index)
            if len(places):
                row, col = places[rng.integers(len(places))] + rng.random(2)
                x, y = _near(float(col), half / 2, x_low, x_high, rng), _near(float(row), half / 2, y_low, y_high, rng)
        return left + min(max(x, 0.0), sample.width_px), top + min(max(y, 0.0), sample.height_px)

    def _landslide(self, index: int) -> NDArray[np.int64]:
        """Return rows and columns of landslide in an image that is no scene: all, or evenly some of very many."""
        if index not in self._places:
            sample = self.samples[index]
            if sample.height_px * sample.width_px > CACHED_IMAGE_PX:
                self._places[index] = _interesting_cells(sample, self.contract)[0] * CELL_PX
            else:
                found = np.argwhere(self._read(index, sample.window_ltrb)[1] == LANDSLIDE)
                self._places[index] = found[:: -(-len(found) // MOST_PLACES) or 1]
        return self._places[index]

    def _read(self, index: int, window_ltrb: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        sample = self.samples[index]
        if sample.height_px * sample.width_px > CACHED_IMAGE_PX:
            return self._filled(sample, window_ltrb)
        if index not in self._cache:
            whole = self._filled(sample, sample.window_ltrb)
            size = whole[0].nbytes + whole[1].nbytes
            if self._cached_bytes + size > CACHE_BYTES:
                return self._filled(sample, window_ltrb)
            self._cache[index], self._cached_bytes = whole, self._cached_bytes + size
        left, top, _, _ = sample.window_ltrb
        rows = slice(window_ltrb[1] - top, window_ltrb[3] - top)
        cols = slice(window_ltrb[0] - left, window_ltrb[2] - left)
        image, labels = self._cache[index]
        return image[rows, cols], labels[rows, cols]

    def _filled(self, sample: Sample, window_ltrb: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        image, valid, labels = read_labelled(sample, self.contract, window_ltrb)
        return fill_nodata(image, valid), labels


def draws(sample: Sample, crop_px: int) -> int:
    """Return how many crops an epoch takes from a sample: as declared, else one, and for scenes those that tile it."""
    if sample.source.draws:
        return sample.source.draws
    if sample.source.layout == "scenes":
        return math.ceil(sample.height_px / crop_px) * math.ceil(sample.width_px / crop_px)
    return 1


def read_labelled(
    sample: Sample, contract: InputContract, window_ltrb: tuple[int, ...]
) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.uint8]]:
    """Return raw pixels (H, W, 3), where they hold data (H, W), and labels (H, W), not judged where they hold none.

    Without a mask nothing is judged.
    """
    left, top, right, bottom = window_ltrb
    window = Window(left, top, right - left, bottom - top)
    image, valid = read_image(sample.image, contract, sample.source.bands, window)
    labels = np.full(valid.shape, IGNORED, np.uint8)
    if sample.mask is not None:
        labels = read_mask(sample.mask, sample.source.mask_rule, window)
    labels[~valid] = IGNORED
    if sample.valid is not None:
        labels[~read_is_judged(sample.valid, window)] = IGNORED
    return image, valid, labels


def _near(place: float, reach: float, low: float, high: float, rng: np.random.Generator) -> float:
    """Return a centre not farther than `reach` from a place, in low..high; the nearest one where there is none."""
    first, last = max(low, place - reach), min(high, place + reach)
    return float(rng.uniform(first, last)) if first <= last else min(max(place, low), high)


def _interesting_cells(sample: Sample, contract: InputContract) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns, in cells, that show landslide, and that are judged at all; read by strips.

    Without a mask none shows landslide, and all with data count as judged.
    """
    left, top, right, bottom = sample.window_ltrb
    landslide, judged = [], []
    for first in range(top, bottom, CELL_PX * 64):
        strip = (left, first, right, min(first + CELL_PX * 64, bottom))
        labels = _labels_only(sample, contract, strip)[::CELL_PX, ::CELL_PX]
        offset = np.array([(first - top) // CELL_PX, 0])
        landslide.append(np.argwhere(labels == LANDSLIDE) + offset)
        judged.append(np.argwhere((labels == LANDSLIDE) | (labels == BACKGROUND)) + offset)
    valid = np.concatenate(judged)
    return np.concatenate(landslide), valid if len(valid) else np.zeros((1, 2), np.int64)


def _labels_only(sample: Sample, contract: InputContract, strip_ltrb: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    left, top, right, bottom = strip_ltrb
    window = Window(left, top, right - left, bottom - top)
    labels = np.full((bottom - top, right - left), BACKGROUND, np.uint8)
    if sample.mask is not None:
        labels = read_mask(sample.mask, sample.source.mask_rule, window)
    labels[~read_image(sample.image, contract, sample.source.bands, window)[1]] = IGNORED
    if sample.valid is not None:
        labels[~read_is_judged(sample.valid, window)] = IGNORED
    return labels
