"""Image files that are grey, which other decoders than GDAL hand out as colours."""

from __future__ import annotations

from pathlib import Path

from kda_edge.errors import SceneError

from ..geo.gdal import GDAL_ERRORS, gdal_session, open_raster


def require_colours(path: Path) -> None:
    """Refuse an image file that has fewer than three bands besides alpha, as a scene of such is refused.

    A palette of colours passes: decoders look them up. So does what GDAL can't open: nothing is known of it.

    Raises:
        SceneError: it is grey.
    """
    try:
        with gdal_session(), open_raster(path) as dataset:
            bands = [color.name for color in dataset.colorinterp if color.name != "alpha"]
            grey = 0 < len(bands) < 3
            if bands == ["palette"]:
                grey = all(red == green == blue for red, green, blue, _ in dataset.colormap(1).values())
    except GDAL_ERRORS:
        return
    if grey:
        raise SceneError(
            f"{path} is grey and the model needs red, green and blue; give colour images, "
            "or arrays with the grey band three times"
        )
