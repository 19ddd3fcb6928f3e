"""Damaged journals and shards: each is refused in one line, or the map is that of a run that nothing had stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from mutations import damaged
from oracle import one_line_error
from rasters import MANIFEST, PLACE, mixed

from kda_edge.errors import Cancelled
from kda_edge.runtime import SceneResult, Segmenter, Shard, merge_shards

HEIGHT, WIDTH = 600, 40
SUFFIX: Final = ".kda"


def scene(folder: Path) -> Path:
    """Write a scene with a part without data."""
    path = folder / "s.tif"
    image = np.random.default_rng(3).integers(1, 256, (3, HEIGHT, WIDTH), np.uint8)
    image[:, 100:180, :20] = 0
    with rasterio.open(
        path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=3, dtype="uint8", nodata=0, **PLACE
    ) as dataset:
        dataset.write(image)
    return path


def contents(result: SceneResult) -> list[bytes]:
    """Return the bytes of the three files of a map."""
    return [path.read_bytes() for path in (result.map_path, result.polygons_path, result.picture_path)]


class Journals:
    """The record of a run that was cut off."""

    name = "journals"

    def __init__(self, folder: Path) -> None:
        self._scene, self._out = scene(folder), folder / "maps"
        self._journal = self._out / ".s_landslide.journal"
        self._segmenter = Segmenter(mixed, MANIFEST)
        self._whole = contents(self._segmenter.predict_scene(self._scene, folder / "whole"))
        asked = iter(range(10**6))
        try:
            self._segmenter.predict_scene(self._scene, self._out, cancel=lambda: next(asked) > 25)
        except Cancelled:
            self._seed = self._journal.read_bytes()

    def make(self, rng: np.random.Generator) -> tuple[str, bytes]:
        """Return a damaged journal."""
        return SUFFIX, damaged(rng, self._seed)

    def check(self, suffix: str, content: bytes) -> str:
        """Go on from a damaged journal."""
        self._journal.write_bytes(content)
        with one_line_error() as refused:
            result = self._segmenter.predict_scene(self._scene, self._out)
        if refused:
            return "refused"
        assert contents(result) == self._whole, "a run that went on from a damaged journal made another map"
        assert not self._journal.exists()
        return "resumed" if result.resumed_rows else "begun anew"


class Shards:
    """The first of two shards of a scene."""

    name = "shards"

    def __init__(self, folder: Path) -> None:
        self._scene, self._out = scene(folder), folder / "maps"
        segmenter = Segmenter(mixed, MANIFEST)
        self._whole = contents(segmenter.predict_scene(self._scene, folder / "whole"))
        first, second = (segmenter.predict_shard(self._scene, Shard(i, 2), folder / "shards") for i in (1, 2))
        self._first, self._second = first.rows_path, second.rows_path
        self._seed = self._first.read_bytes()

    def make(self, rng: np.random.Generator) -> tuple[str, bytes]:
        """Return a damaged shard."""
        return SUFFIX, damaged(rng, self._seed)

    def check(self, suffix: str, content: bytes) -> str:
        """Merge a damaged shard with a whole one."""
        self._first.write_bytes(content)
        with one_line_error() as refused:
            result = merge_shards(self._scene, [self._first, self._second], self._out)
        if refused:
            return "refused"
        assert contents(result) == self._whole, "a damaged shard was merged into another map"
        return "merged"
