"""The example scene that comes with the package, as tiles for any model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

from kda_edge.manifest import Manifest
from kda_edge.paths import is_file
from kda_edge.tiling.certificate_tiles import Tile
from kda_edge.tiling.tile_grid import TileGrid

from ..geo.gdal import gdal_session
from ..mapping.scene_tiles import cut_tiles, spread_over
from ..scenes.scene import open_scene

EXAMPLE: Final = "bundled/example_scene.tif"
VALUE_RANGE: Final = (0.0, 255.0)  # of its pixels, which are 8-bit
TILES_MAX: Final = 15  # all of it at 256 px; of smaller tiles as many, spread over it

_log = logging.getLogger(__name__)


@contextmanager
def example_scene() -> Iterator[Path | None]:
    """Yield the path of the example scene; None where this installation has none."""
    with resources.as_file(resources.files("kda_edge.runtime").joinpath(EXAMPLE)) as path:
        yield path if is_file(path) else None


def example_scene_tiles(manifest: Manifest) -> list[Tile]:
    """Return tiles of the example scene for a model, whatever pixels it takes.

    Its 8-bit pixels are mapped linearly onto the model's range of values, as `--value-range 0 255` does it. A tile
    that is larger than the scene is filled up by reflection, as in every scene. Where the scene is not at hand, there
    are none, and the log says so.

    Raises:
        SceneError: the file is damaged.
    """
    with example_scene() as path:
        if path is None:
            _log.warning("this installation has no example scene, so no engine is compared on it; install it again")
            return []
        with (
            gdal_session(),
            open_scene(path, manifest.input, value_range=VALUE_RANGE, any_gsd=True) as scene,
        ):
            corners = list(TileGrid(scene.height_px, scene.width_px, manifest.tile_px))
            return list(cut_tiles(scene, spread_over(corners, TILES_MAX), manifest.tile_px))
