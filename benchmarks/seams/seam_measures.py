"""Seams of a map, measured: against a dense reference, and against the same map with its grid of tiles moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.tiling.pixels import Source
from kda_edge.tiling.tile_answers import Engine

from .blend_weights import GAUSSIAN, KINDS
from .blended_maps import blended_maps
from .map_differences import Differences, DistanceCurve, differences_of
from .tile_lines import MovedGrid, border_distance_px, half_a_step

DENSE: Final = 4  # steps of the reference in a tile, along each axis
NEAR: Final = 32  # a pixel is near a border within a 32nd of a tile,
FAR: Final = 16  # and far from it from a 16th on


@dataclass(frozen=True)
class Seams:
    """What one overlap with one kind of weights does to a map.

    Attributes:
        overlap_px: least overlap of neighbouring tiles.
        weights: kind of blend weights.
        tiles: that the engine was given.
        times_least: these tiles over those of the scene without any overlap.
        times_least_inside: the same in the middle of a scene without end.
        reference: against the dense reference.
        moved: against the same setting with its grid moved by half a step.
        from_border: of `moved`, by distance to the nearest border of a tile of either grid.
    """

    overlap_px: int
    weights: str
    tiles: int
    times_least: float
    times_least_inside: float
    reference: Differences
    moved: Differences
    from_border: DistanceCurve


@dataclass(frozen=True)
class SeamMeasures:
    """What tiling does to a map of one scene.

    Attributes:
        interior_px: pixels that count: with data, half a tile or more from the scene's border.
        reference_tiles: that the engine was given for the reference.
        reference_moved: the reference against itself with its grid moved by half a step. It is no truth either:
            figures against it are about that uncertain.
        settings: one for each overlap and kind of weights.
        within_tile: of single tiles against the reference, by distance to their own border.
        differs: of the setting that was asked to be drawn, from the reference, (H, W), 0..1; NaN where a pixel does
            not count; None: none was asked for, or it was not among the settings.
    """

    interior_px: int
    reference_tiles: int
    reference_moved: Differences
    settings: tuple[Seams, ...]
    within_tile: DistanceCurve
    differs: NDArray[np.float32] | None


def measured_seams(
    source: Source,
    height_width_px: tuple[int, int],
    engine: Engine,
    *,
    tile_px: int,
    threshold: float,
    overlaps_px: Sequence[int],
    kinds: Sequence[str] = KINDS,
    reference_step_px: int | None = None,
    batch: int = 1,
    drawn: tuple[int, str] | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> SeamMeasures:
    """Measure what overlaps and weights do to the map of a scene.

    The reference has a step of a quarter of a tile and gaussian weights, so that many tiles answer for a pixel and none
    counts much near its border. Memory: about 60 bytes a pixel with all kinds of weights.

    Args:
        source: the scene.
        height_width_px: its size.
        engine: see `Engine`; raw pixels, values mapped.
        tile_px: side of a tile.
        threshold: probability from which a pixel counts as landslide.
        overlaps_px: least overlaps, each 0 to less than a tile.
        kinds: of blend weights, some of `KINDS`.
        reference_step_px: from a tile of the reference to the next; None is a quarter of a tile.
        batch: most tiles a call.
        drawn: overlap and kind whose differences are wanted as a picture; None: of none.
        said: told what is done, a line each.

    Raises:
        UsageError: an overlap or a step that no grid has, kinds that there are none of, or no pixel that counts.
        EngineError: a tile has no answer.
        SceneError: a part of the scene can't be read.
    """
    height_px, width_px = height_width_px
    step_px = tile_px // DENSE if reference_step_px is None else reference_step_px
    grids = [MovedGrid(height_px, width_px, tile_px, overlap_px) for overlap_px in overlaps_px]
    dense = MovedGrid(height_px, width_px, tile_px, tile_px - step_px)
    said(f"the reference, {len(dense)} tiles, and as many moved")
    made = blended_maps(source, dense, engine, (GAUSSIAN,), batch=batch)
    reference, counted = made.probability[GAUSSIAN], interior(made.valid, tile_px)
    if not counted.any():
        raise UsageError(
            f"a scene of {height_px} x {width_px} px has no pixel with data that lies half a tile of {tile_px} px from "
            "its border; give a larger one"
        )
    again = blended_maps(source, half_a_step(dense), engine, (GAUSSIAN,), batch=batch).probability[GAUSSIAN]
    within_tile, depth_px = DistanceCurve(threshold), _depth_px(tile_px)

    def compare_tile(row: int, col: int, answer: NDArray[np.float32]) -> None:
        here = np.s_[row : row + answer.shape[0], col : col + answer.shape[1]]
        if counted[here].any():
            within_tile.add(answer, reference[here], depth_px[: len(answer), : answer.shape[1]], counted[here])

    least = _tiles_with_data(MovedGrid(height_px, width_px, tile_px), made.valid)
    settings: list[Seams] = []
    differs = None
    for grid in grids:
        said(f"overlap {grid.overlap_px} px, {len(grid)} tiles, and as many moved")
        lies = blended_maps(source, grid, engine, kinds, batch=batch, seen=compare_tile)
        moved_grid = half_a_step(grid)
        moved = blended_maps(source, moved_grid, engine, kinds, batch=batch, seen=compare_tile)
        border_px = border_distance_px((grid, moved_grid))
        for kind in kinds:
            one, other = lies.probability[kind], moved.probability[kind]
            from_border = DistanceCurve(threshold)
            from_border.add(one, other, border_px, counted)
            settings.append(
                Seams(
                    overlap_px=grid.overlap_px,
                    weights=kind,
                    tiles=lies.tiles,
                    times_least=lies.tiles / least,
                    times_least_inside=(tile_px / grid.step_px) ** 2,
                    reference=differences_of(one, reference, counted, threshold),
                    moved=differences_of(one, other, counted, threshold),
                    from_border=from_border,
                )
            )
            if drawn == (grid.overlap_px, kind):
                differs = np.where(counted, np.abs(one - reference), np.float32(np.nan))
    return SeamMeasures(
        interior_px=int(np.count_nonzero(counted)),
        reference_tiles=made.tiles,
        reference_moved=differences_of(reference, again, counted, threshold),
        settings=tuple(settings),
        within_tile=within_tile,
        differs=differs,
    )


def interior(valid: NDArray[np.bool_], tile_px: int) -> NDArray[np.bool_]:
    """Return which pixels with data lie half a tile or more from the scene's border, where the border tells nothing."""
    half_px = tile_px // 2
    inside = np.zeros_like(valid)
    here = np.s_[half_px : valid.shape[0] - half_px, half_px : valid.shape[1] - half_px]
    inside[here] = valid[here]
    return inside


def _depth_px(tile_px: int) -> NDArray[np.float32]:
    """How far the centre of each pixel of a tile lies from the tile's border, (T, T)."""
    along = np.arange(tile_px, dtype=np.float32) + np.float32(0.5)
    along = np.minimum(along, along[::-1])
    return np.asarray(np.minimum(along[:, None], along[None, :]))


def _tiles_with_data(grid: MovedGrid, valid: NDArray[np.bool_]) -> int:
    return sum(bool(valid[row : row + grid.tile_px, col : col + grid.tile_px].any()) for row, col in grid)
