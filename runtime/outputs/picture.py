"""A picture of a scene with its landslides, for people: PNG, with a legend, a scale bar and an arrow to the north."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from rasterio.features import shapes

from kda_edge.errors import OutputError
from kda_edge.ground.ground import Floats, Ground, locate

from ..geo.gdal import one_line
from ..scenes.scene import Scene
from .legend import AREA_SHARE, CASING, LANDSLIDE, NODATA, STRIP_PX, with_legend
from .picture_cells import NO_DATA, SLIDE, MapCells, SceneColours, colours_of_scene

Bytes = npt.NDArray[np.uint8]

MOST_PX: Final = 1600  # of the longest side, legend included
ENLARGED_AT_MOST: Final = 8  # times; a scene of 100 px is shown at 800
STRETCH_PERCENT: Final = (2.0, 98.0)  # of valid pixels, band by band, shown from black to white
SMALL_PX: Final = 24  # landslides shorter than this in the picture get a fine line, so that they don't drown in it
SMALL_PICTURE_PX: Final = 1000  # shorter pictures get fine lines only
MOST_OUTLINES: Final = 20_000  # drawn one by one; of more, nobody could see one, and each costs time
VALUES_STEP: Final = 2  # cells, along both sides, of which one is handed on
# Runs only: of a drone's orthomosaic 0.10 s and 3.05 MB, where level 3 of zlib's own way takes 0.16 s and 3.18 MB.
PNG: Final = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
_SHIFT: Final = 4  # binary digits behind the point in OpenCV's coordinates


class Sketch:
    """What a picture needs of a scene and its map, gathered while they pass by, so that neither is read again.

    Attributes:
        step_m: metres east and north (rows) of one step right and one step down the scene (columns), if known.
        size_hw: sides of the picture without its legend.
        colours: of the scene; where its windows have not all come by, the scene is read again.
        cells: of the map.
        openings: of the scene, whose windows went to `colours`.
    """

    def __init__(self, scene: Scene, *, max_px: int = MOST_PX) -> None:
        """Begin without a window; `max_px` is the longest side of the picture, but that its legend needs 460 px."""
        height_px, width_px = scene.height_px, scene.width_px
        self.step_m = _step_m(scene)
        self.size_hw = _size_hw(height_px, width_px, self.step_m, max_px)
        self.colours = SceneColours(height_px, width_px, scene.pixel_type, self.size_hw)
        self.cells = MapCells(height_px, width_px, self.size_hw)
        self.openings: list[Scene] = []

    def finish(self, scene: Scene) -> None:
        """Read the scene where its colours are not known.

        Raises:
            SceneError: it can't be read.
        """
        if not self.colours.whole:
            self.colours, self.openings = colours_of_scene(scene, self.size_hw), [scene]

    @property
    def partly_valid_px(self) -> int:
        """Pixels of the scene that have data in some bands only, once it is finished."""
        return sum(scene.partly_valid_px for scene in self.openings)


def write_picture(scene: Scene, sketch: Sketch, out_path: Path) -> npt.NDArray[Any]:
    """Draw a scene with its landslides tinted and outlined.

    The rows and columns of the picture are those of the map, as many ground metres to a pixel of the picture along
    both; an arrow says where north is, if known. No landslide vanishes in a smaller picture: one pixel of it marks its
    place. 8-bit scenes keep their colours, others are stretched for display. Pixels without data, and those that could
    not be read, are light grey. Memory is that of the picture and a few blocks of the scene.

    Args:
        scene: the scene, open, as it was mapped.
        sketch: of it, with all rows of its map.
        out_path: the .png, replaced if it exists; what is there after an error is worthless.

    Returns:
        The scene's colours before they are stretched, (N, 3): means of valid pixels here and there all over it.

    Raises:
        SceneError: the scene can't be read.
        OutputError: the picture can't be written.
    """
    sketch.finish(scene)
    size_hw, step_m, cells = sketch.size_hw, sketch.step_m, sketch.cells.shown
    colours, valid, _ = sketch.colours.means()
    known = valid & (cells != NO_DATA)
    sampled = np.s_[::VALUES_STEP, ::VALUES_STEP]
    values = np.asarray(colours[sampled][known[sampled]])
    image = _enlarged(_shown(colours, known, stretched=scene.pixel_type != np.uint8), size_hw)
    slide = _enlarged(cells == SLIDE, size_hw)
    _draw(image, slide)
    if step_m is not None:  # from metres a raster step to metres a picture step
        step_m = step_m * [scene.width_px / size_hw[1], scene.height_px / size_hw[0]]
    picture = with_legend(
        image,
        step_m,
        landslides=bool(slide.any()),
        nodata=not known.all(),
        quicklook=scene.quicklook_from is not None,
    )
    _, png = cv2.imencode(".png", picture[..., ::-1], PNG)
    try:
        out_path.write_bytes(png.tobytes())
    except OSError as error:
        raise OutputError(
            f"the picture can't be written to {out_path.parent} ({one_line(error)}); "
            "free some space or choose another folder"
        ) from error
    return values


def _step_m(scene: Scene) -> Floats | None:
    """Return metres east and north (rows) of one step right and one step down (columns), None where nobody knows."""
    located = locate(scene)
    return located.step_m((scene.width_px / 2, scene.height_px / 2)) if isinstance(located, Ground) else None


def _size_hw(height_px: int, width_px: int, step_m: Floats | None, max_px: int) -> tuple[int, int]:
    """Return the sides of the picture without its footer: whole times larger, or smaller, with square ground pixels."""
    along_row, along_column = (1.0, 1.0) if step_m is None else np.hypot(*step_m)
    finer = min(along_row, along_column)
    width, height = width_px * along_row / finer, height_px * along_column / finer
    scale = min(max_px / width, max(1, max_px - STRIP_PX) / height)
    if scale > 1:
        scale = min(np.floor(scale), ENLARGED_AT_MOST)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _enlarged(cells: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[Any]:
    """Repeat rows and columns, as evenly as can be, up to the size asked for."""
    if cells.shape[:2] == size_hw:
        return cells
    rows, cols = (np.arange(size) * count // size for size, count in zip(size_hw, cells.shape, strict=False))
    return np.asarray(cells[rows[:, None], cols])


def _shown(colours: npt.NDArray[Any], known: npt.NDArray[np.bool_], *, stretched: bool) -> Bytes:
    """Return colours as 8-bit ones, (H, W, 3), unknown ones in light grey."""
    image = np.empty(colours.shape, np.uint8)
    for band in range(3):
        values = colours[..., band]
        if stretched and known.any():
            low, high = np.percentile(values[known].astype(np.float64), STRETCH_PERCENT)
            values = np.clip((values - low) / max(high - low, float(np.finfo(np.float32).tiny)) * 255, 0, 255)
        plane = np.rint(values).astype(np.uint8)
        plane[~known] = NODATA[band]
        image[..., band] = plane
    return image


def _draw(image: Bytes, slide: npt.NDArray[np.bool_]) -> None:
    """Tint and outline the landslides, in place; outlines run along the corners of the picture's cells."""
    for band, full in enumerate(LANDSLIDE):
        tint = np.rint(np.arange(256) * (1 - AREA_SHARE) + full * AREA_SHARE).astype(np.uint8)
        image[..., band][slide] = tint[image[..., band][slide]]
    mask = slide.astype(np.uint8)
    if cv2.connectedComponents(mask, connectivity=4)[0] > MOST_OUTLINES:
        image[slide & (cv2.erode(mask, np.ones((3, 3), np.uint8)) == 0)] = LANDSLIDE
        return
    fine: list[npt.NDArray[np.int32]] = []
    bold: list[npt.NDArray[np.int32]] = []
    for geometry, _ in shapes(mask, mask=slide, connectivity=4):
        # OpenCV counts from the centre of a pixel
        rings = [np.rint((np.array(ring) - 0.5) * 2**_SHIFT).astype(np.int32) for ring in geometry["coordinates"]]
        small = np.ptp(rings[0], axis=0).max() < SMALL_PX * 2**_SHIFT
        (fine if small else bold).extend(rings)
    for outlines, width_px in ((fine, 1), (bold, 1 if max(image.shape) < SMALL_PICTURE_PX else 2)):
        for color, thickness in ((CASING, width_px + 2), (LANDSLIDE, width_px)):
            cv2.polylines(image, outlines, True, color, thickness, cv2.LINE_AA, _SHIFT)
