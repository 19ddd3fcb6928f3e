"""A picture of a scene with its landslides, for people: PNG, with a legend, a scale bar and an arrow to the north."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling
from rasterio.features import shapes

from kda_edge.errors import OutputError, SceneError

from .gdal import GDAL_ERRORS, one_line, open_raster
from .ground import Floats, Frame, Ground, locate
from .legend import AREA_SHARE, CASING, LANDSLIDE, NODATA, STRIP_PX, with_legend
from .strips import strips

Bytes = npt.NDArray[np.uint8]

ENLARGED_AT_MOST: Final = 8  # times; a scene of 100 px is shown at 800
STRETCH_PERCENT: Final = (2.0, 98.0)  # of valid pixels, band by band, shown from black to white
SMALL_PX: Final = 24  # landslides shorter than this in the picture get a fine line, so that they don't drown in it
SMALL_PICTURE_PX: Final = 1000  # shorter pictures get fine lines only
NO_DATA, GROUND, SLIDE = 0, 1, 2  # what a cell of the picture shows; the largest in it wins
_SHIFT: Final = 4  # binary digits behind the point in OpenCV's coordinates


def write_picture(
    scene_path: Path, map_path: Path, out_path: Path, *, bands: tuple[int, int, int], max_px: int = 1600
) -> None:
    """Draw a scene with its landslides tinted and outlined.

    The rows and columns of the picture are those of the raster, as many ground metres to a pixel of the picture along
    both; an arrow says where north is, if known. No landslide vanishes in a smaller picture: one pixel of it marks its
    place. 8-bit scenes keep their colours, others are stretched for display. Pixels without data are light grey.

    Args:
        scene_path: the scene.
        map_path: its landslide map.
        out_path: the .png, replaced if it exists; what is there after an error is worthless.
        bands: 1-based numbers of the scene's red, green and blue band.
        max_px: longest side of the picture; its legend needs 460 px of width all the same.

    Raises:
        SceneError: the scene or the map can't be read.
        OutputError: the picture can't be written.
    """
    try:
        with open_raster(scene_path) as scene, open_raster(map_path) as landslides:
            located = locate(Frame.of(landslides))
            center = (landslides.width / 2, landslides.height / 2)
            step_m = located.step_m(center) if isinstance(located, Ground) else None
            size_hw = _size_hw(landslides.height, landslides.width, step_m, max_px)
            cells = _cells(landslides, size_hw)
            image = _shown(scene, bands, size_hw, cells)
    except GDAL_ERRORS as error:
        raise SceneError(f"{scene_path} can't be read for the picture ({one_line(error)}); copy it again") from error
    _draw(image, cells == SLIDE)
    if step_m is not None:  # from metres a raster step to metres a picture step
        step_m = step_m * [center[0] * 2 / size_hw[1], center[1] * 2 / size_hw[0]]
    picture = with_legend(image, step_m, landslides=bool((cells == SLIDE).any()), nodata=bool((cells == NO_DATA).any()))
    _, png = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])
    try:
        out_path.write_bytes(png.tobytes())
    except OSError as error:
        raise OutputError(
            f"the picture can't be written to {out_path} ({one_line(error)}); free some space or choose another folder"
        ) from error


def _size_hw(height_px: int, width_px: int, step_m: Floats | None, max_px: int) -> tuple[int, int]:
    """Return the sides of the picture without its footer: whole times larger, or smaller, with square ground pixels."""
    along_row, along_column = (1.0, 1.0) if step_m is None else np.hypot(*step_m)
    finer = min(along_row, along_column)
    width, height = width_px * along_row / finer, height_px * along_column / finer
    scale = min(max_px / width, max(1, max_px - STRIP_PX) / height)
    if scale > 1:
        scale = min(np.floor(scale), ENLARGED_AT_MOST)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _cells(landslides: Any, size_hw: tuple[int, int]) -> Bytes:
    """Return what each cell of the picture shows, (H, W): `SLIDE` where any pixel in it is a landslide."""
    meaning = np.full(256, GROUND, np.uint8)
    meaning[1], meaning[255] = SLIDE, NO_DATA
    rows, cols = _firsts(landslides.height, size_hw[0]), _firsts(landslides.width, size_hw[1])
    cells = np.zeros((len(rows), len(cols)), np.uint8)
    for window in strips(landslides):
        strip = np.maximum.reduceat(meaning[landslides.read(1, window=window)], cols, axis=1)
        cell = np.searchsorted(rows, np.arange(window.row_off, window.row_off + window.height), side="right") - 1
        np.maximum.at(cells, cell, strip)
    return _enlarged(cells, size_hw)


def _firsts(source_px: int, shown_px: int) -> npt.NDArray[np.int64]:
    """Return the first source pixel of each cell along one side; never more cells than source pixels."""
    count = min(source_px, shown_px)
    return np.arange(count) * source_px // count


def _enlarged(cells: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[Any]:
    """Repeat rows and columns, as evenly as can be, up to the size asked for."""
    rows, cols = (np.arange(size) * count // size for size, count in zip(size_hw, cells.shape, strict=False))
    return np.asarray(cells[rows[:, None], cols])


def _shown(scene: Any, bands: tuple[int, int, int], size_hw: tuple[int, int], cells: Bytes) -> Bytes:
    """Return the scene as 8-bit colour, (H, W, 3), cells without data in light grey."""
    read_hw = min(size_hw[0], scene.height), min(size_hw[1], scene.width)
    bytes_only = all(scene.dtypes[band - 1] == "uint8" for band in bands)
    read = scene.read(list(bands), out_shape=(3, *read_hw), resampling=Resampling.average)
    image = _enlarged(read.transpose(1, 2, 0), size_hw)
    known = (cells != NO_DATA) & np.isfinite(image).all(axis=2)
    if not bytes_only and known.any():
        low, high = np.percentile(image[known].astype(np.float64), STRETCH_PERCENT, axis=0)
        image = np.clip((image - low) / np.maximum(high - low, np.finfo(np.float32).tiny) * 255, 0, 255)
    return np.where(known[..., None], np.nan_to_num(image), NODATA).astype(np.uint8)


def _draw(image: Bytes, slide: npt.NDArray[np.bool_]) -> None:
    """Tint and outline the landslides, in place; outlines run along the corners of the picture's cells."""
    tinted = image[slide] * (1 - AREA_SHARE) + np.array(LANDSLIDE) * AREA_SHARE
    image[slide] = np.rint(tinted).astype(np.uint8)
    fine: list[npt.NDArray[np.int32]] = []
    bold: list[npt.NDArray[np.int32]] = []
    for geometry, _ in shapes(slide.astype(np.uint8), mask=slide, connectivity=4):
        # OpenCV counts from the centre of a pixel
        rings = [np.rint((np.array(ring) - 0.5) * 2**_SHIFT).astype(np.int32) for ring in geometry["coordinates"]]
        small = np.ptp(rings[0], axis=0).max() < SMALL_PX * 2**_SHIFT
        (fine if small else bold).extend(rings)
    for outlines, width_px in ((fine, 1), (bold, 1 if max(image.shape) < SMALL_PICTURE_PX else 2)):
        for color, thickness in ((CASING, width_px + 2), (LANDSLIDE, width_px)):
            cv2.polylines(image, outlines, True, color, thickness, cv2.LINE_AA, _SHIFT)
