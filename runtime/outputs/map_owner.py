"""Whose map lies under a name: another scene's is not replaced unless somebody says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from kda_edge.errors import OutputError
from kda_edge.paths import exists

from ..geo.gdal import GDAL_ERRORS, open_raster
from ..geo.raster_names import RasterName
from .georeference import alone

SCENE_TAG: Final = "scene_digest"  # of a map: `SceneContent.identity` of its scene


def require_own_map(final: Path, scene: RasterName, digest: Callable[[], str]) -> None:
    """Make sure that no map of another scene lies where one is to be written.

    Args:
        final: the map's path.
        scene: whose map is to be written.
        digest: of the scene; asked where a map is there, since that may have to wait for all of the scene's bytes.

    Raises:
        OutputError: what is there is the map of another scene, or no map that says of which.
    """
    if not exists(final):
        return
    said = None
    try:
        with alone(), open_raster(final) as dataset:
            said = dataset.tags().get(SCENE_TAG)
    except GDAL_ERRORS:
        pass  # no raster at all
    if said != digest():
        raise taken(final, scene, known=said is not None)


def taken(final: Path, scene: object, *, known: bool) -> OutputError:
    """Return the error of a name that something else has already.

    Args:
        final: the name.
        scene: what is to be mapped.
        known: what is there says what it is of.
    """
    what = f"is of something else than {scene} as it is now" if known else f"does not say that it is of {scene}"
    return OutputError(f"{final} is there and {what}; choose another folder with -o, or replace it with --overwrite")
