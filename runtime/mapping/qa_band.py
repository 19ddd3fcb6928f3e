"""The map's qa band: why a pixel deserves less trust than its probability says."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..map_format import EDGE_PX, FAILED_TILE, HALO_PX, NEAR_NODATA, NODATA, SCENE_EDGE


def halo_rows(row0: int, row1: int, height_px: int) -> tuple[int, int]:
    """Return the rows of the mask (end excluded) that decide what is near nodata in rows row0 to row1."""
    return max(row0 - HALO_PX, 0), min(row1 + HALO_PX, height_px)


def qa_rows(
    valid: NDArray[np.bool_],
    failed: NDArray[np.bool_],
    row0: int,
    height_px: int,
    *,
    lost: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Return the qa bits of some rows of a scene.

    A distance is counted as a king walks: along the longer of rows and columns.

    Args:
        valid: the scene's mask over `halo_rows` of these rows, whole width.
        failed: where a failed tile lies, (h, width).
        row0: the first of the h rows.
        height_px: of the scene.
        lost: where the scene could not be read, of the mask's shape; None: nowhere. Not nodata, but failed.

    Returns:
        (h, width), a sum of `NODATA`, `SCENE_EDGE`, `NEAR_NODATA` and `FAILED_TILE`. `NEAR_NODATA` is given to valid
        pixels only, `FAILED_TILE` to valid and lost ones.
    """
    rows, width_px = failed.shape
    above_px = row0 - halo_rows(row0, row0 + rows, height_px)[0]
    here = np.s_[above_px : above_px + rows]
    qa = np.zeros((rows, width_px), np.uint8)
    qa[: max(EDGE_PX - row0, 0)] = qa[max(height_px - EDGE_PX - row0, 0) :] = SCENE_EDGE
    qa[:, :EDGE_PX] = qa[:, max(width_px - EDGE_PX, 0) :] = SCENE_EDGE

    failed_here = failed if lost is None else failed | lost[here]
    known = valid if lost is None else valid | lost
    if not known.all():
        nodata = (~known).view(np.uint8)
        square = np.ones((2 * HALO_PX + 1, 2 * HALO_PX + 1), np.uint8)
        near = cv2.dilate(nodata, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)[here]
        qa |= np.where(valid[here], near * np.uint8(NEAR_NODATA), nodata[here] * np.uint8(NODATA))
        failed_here = failed_here & known[here]
    if failed_here.any():
        qa[failed_here] |= FAILED_TILE
    return qa
