"""Measure how much a map depends on where the grid of tiles lies, for several overlaps and kinds of blend weights.

Against a dense reference (a step of a quarter of a tile, gaussian weights): the share of interior pixels whose class
flips, mean and largest difference of probability, IoU of the landslides. Against the same map with its grid moved by
half a step: the same, near the borders of tiles and far from them. Beside it the arithmetic that each overlap costs:
tiles over the fewest that cover the scene. Interior is what has data and lies half a tile or more from the scene's
border. Maps are held in memory, about 60 bytes a pixel of the scene.

`cosine` is what kda-infer does; the other weights are of this benchmark alone.

Example: kda-bench seams scene.tif --plots plots --json seams.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.engine_names import ENGINES
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.mapping.value_range import with_values_mapped
from kda_edge.runtime.opened_engine import open_engine
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.tile_grid import default_overlap_px

from ..reporting import plots
from ..reporting.measured_on import engine_parity, model_facts
from ..reporting.result import Figure, Result
from ..reporting.seams_table import seams_table
from ..reporting.text_tables import add_json_option, publish, require_json_path
from ..seams.blend_weights import COSINE, KINDS
from ..seams.map_differences import Differences
from ..seams.seam_measures import DENSE, FAR, NEAR, SeamMeasures, Seams, measured_seams
from .options import positive_numbers

EIGHTHS: Final = (1, 2, 3, 4)  # of a tile, that tiles overlap by where nothing else is asked for
FEW: Final = 0.002  # of all pixels: where fewer lie at a distance, the plot of a curve has a gap
PICTURE_PX: Final = 900  # most along a side of the map of differences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `kda-bench seams`."""
    add = parser.add_argument
    add("scene", type=Path, metavar="scene.tif", help="any scene that kda-infer takes, larger than a tile")
    add("--model", type=Path, metavar="M.onnx", help="made by kda-export (default: the bundled student)")
    add("--engine", choices=ENGINES, default="auto", help="as in kda-infer")
    add("--allow-unverified", action="store_true", help="take a model whose certificate is missing or does not hold")
    add("--overlaps", type=positive_numbers, metavar="PX,PX", help="default: 1, 2, 3 and 4 eighths of a tile")
    add("--weights", type=_kinds, default=KINDS, metavar="NAMES", help=f"some of {','.join(KINDS)} (default: all)")
    add("--reference-step", type=int, metavar="PX", help="of the reference's tiles (default: a quarter of a tile)")
    add("--plots", type=Path, metavar="DIR", help="write seams.png, seams_moved.png and seams_map.png there")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Measure; return 0."""
    require_json_path(options.json)
    if options.plots is not None:
        plots.require_matplotlib()
    result, differs = measure(options)
    if options.plots is not None:
        write_curves(result, options.plots)
        if differs is not None:
            write_map(result, differs, options.plots)
    publish(result, seams_table(result), json_to=options.json)
    return 0


def measure(options: argparse.Namespace) -> tuple[Result, NDArray[np.float32] | None]:
    """Map the scene once for the reference, and twice for each overlap.

    Returns:
        The result; and how far the default lies from the reference, (H, W), 0..1; None: it is not among the settings.

    Raises:
        KdaEdgeError: model or scene can't be read, an option that can't be right.
        EngineError: the engine failed on a tile.
    """
    artifact = read_artifact(options.model, allow_unverified=options.allow_unverified)
    with open_engine(options.model, engine=options.engine, allow_unverified=options.allow_unverified) as engine:
        manifest = engine.manifest
        tile_px = manifest.tile_px
        overlaps_px = options.overlaps or tuple(tile_px * eighths // 8 for eighths in EIGHTHS)
        step_px = tile_px // DENSE if options.reference_step is None else options.reference_step
        default = default_overlap_px(tile_px), COSINE
        with gdal_session(), open_scene(options.scene, manifest.input) as scene:
            size_px = scene.height_px, scene.width_px
            found = measured_seams(
                scene,
                size_px,
                with_values_mapped(engine, manifest.input, scene.value_range),
                tile_px=tile_px,
                threshold=manifest.threshold,
                overlaps_px=overlaps_px,
                kinds=options.weights,
                reference_step_px=step_px,
                batch=engine.facts.batch,
                drawn=default,
                said=_say,
            )
    result = Result(
        benchmark="seams",
        settings={
            "scene": options.scene.name,
            "height_px": size_px[0],
            "width_px": size_px[1],
            "engine": options.engine,
            "engine_used": engine.name,
            "threshold": manifest.threshold,
            "overlaps_px": list(overlaps_px),
            "weights": list(options.weights),
            "reference_step_px": step_px,
            "near_px": tile_px // NEAR,
            "far_px": tile_px // FAR,
            "default": {"overlap_px": default[0], "weights": default[1]},
        },
        figures=figures_of(found, tile_px),
        models=[model_facts(artifact)],
        conditions=engine_parity(engine.facts),
        series=series_of(found),
        notes=[*engine.notes, _about(found, step_px, tile_px)],
    )
    return result, found.differs


def figures_of(found: SeamMeasures, tile_px: int) -> list[Figure]:
    """Return the figures of a scene."""
    figures = [
        Figure("interior", found.interior_px / 1e6, "Mpx"),
        Figure("reference.tiles", found.reference_tiles, ""),
        *_differences("reference_moved", found.reference_moved, {}),
    ]
    for one in found.settings:
        of = _of(one)
        figures += [
            Figure("tiles", one.tiles, "", "lower", of),
            Figure("arithmetic", one.times_least, "", "lower", of),
            Figure("arithmetic.inside", one.times_least_inside, "", "lower", of),
        ]
        figures += [*_differences("reference", one.reference, of), *_differences("moved", one.moved, of)]
        for name, part in (
            ("near", one.from_border.within(0, tile_px // NEAR)),
            ("far", one.from_border.within(tile_px // FAR)),
        ):
            if part is not None:
                figures += [
                    Figure(f"moved.{name}.flips", part[0], "", "lower", of),
                    Figure(f"moved.{name}.mean_abs", part[1], "", "lower", of),
                ]
    return figures


def series_of(found: SeamMeasures) -> dict[str, list[float]]:
    """Return the curves: by distance in whole pixels, how many pixels, share of flips, mean difference."""
    curves = {"tile alone": found.within_tile}
    curves |= {f"moved {one.overlap_px} {one.weights}": one.from_border for one in found.settings}
    series: dict[str, list[float]] = {}
    for name, curve in curves.items():
        points = list(curve)
        for place, what in enumerate(("distance_px", "pixels", "flips", "mean_abs")):
            series[f"{name}: {what}"] = [float(point[place]) for point in points]
    return series


def write_curves(result: Result, folder: Path) -> None:
    """Write `seams.png`, what single tiles are worth by distance to their border, and `seams_moved.png`."""
    with plots.drawn(folder / "seams.png", title=plots.heading(result)) as axes:
        distance_px = np.asarray(result.series["tile alone: distance_px"]) + 0.5
        axes.plot(distance_px, result.series["tile alone: flips"], label="share of pixels with another class")
        axes.plot(distance_px, result.series["tile alone: mean_abs"], label="mean difference of probability")
        for overlap_px in result.settings["overlaps_px"]:
            axes.axvline(overlap_px / 2, color="#999999", linewidth=0.6, linestyle=":")
        axes.set_xlabel("distance to the tile's own border, px (dotted: the middle of an overlap)")
        axes.set_ylabel("one tile alone against the dense reference")
        axes.set_ylim(bottom=0)
        axes.legend()
    with plots.drawn(folder / "seams_moved.png", title=plots.heading(result)) as axes:
        kind = COSINE if COSINE in result.settings["weights"] else result.settings["weights"][0]
        for overlap_px in result.settings["overlaps_px"]:
            name = f"moved {overlap_px} {kind}"
            distance_px = np.asarray(result.series[f"{name}: distance_px"]) + 0.5
            pixels = np.asarray(result.series[f"{name}: pixels"])
            flips = np.where(pixels >= FEW * pixels.sum(), result.series[f"{name}: flips"], np.nan)
            axes.plot(distance_px, flips, marker=".", label=f"overlap {overlap_px} px")
        axes.set_xlabel("distance to the nearest border of a tile of either grid, px")
        axes.set_ylabel("share of pixels with another class")
        axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
        axes.legend(title=f"grid moved by half a step, weights {kind}", loc="upper center", ncols=4)


def write_map(result: Result, differs: NDArray[np.float32], folder: Path) -> None:
    """Write `seams_map.png`: where the default differs from the reference, the largest of each few pixels."""
    block_px = -(-max(differs.shape) // PICTURE_PX)
    known = np.nan_to_num(differs, nan=0.0)
    largest = cv2.dilate(known, np.ones((block_px, block_px), np.uint8), anchor=(0, 0))[::block_px, ::block_px]
    default = result.settings["default"]
    title = f"{plots.heading(result)}\noverlap {default['overlap_px']} px, weights {default['weights']}"
    with plots.drawn(folder / "seams_map.png", title=title) as axes:
        height_px, width_px = differs.shape
        image = axes.imshow(largest, cmap="magma", vmin=0, vmax=0.5, extent=(0, width_px, height_px, 0))
        axes.figure.colorbar(image, ax=axes, label="difference of probability from the reference")
        axes.set_xlabel("column, px")
        axes.set_ylabel("row, px")


def _differences(name: str, against: Differences, of: dict[str, str | int]) -> list[Figure]:
    return [
        Figure(f"{name}.flips", against.flips, "", "lower", of),
        Figure(f"{name}.mean_abs", against.mean_abs, "", "lower", of),
        Figure(f"{name}.max_abs", against.max_abs, "", "lower", of),
        Figure(f"{name}.iou", against.iou, "", "higher", of),
    ]


def _of(one: Seams) -> dict[str, str | int]:
    return {"overlap_px": one.overlap_px, "weights": one.weights}


def _about(found: SeamMeasures, step_px: int, tile_px: int) -> str:
    return (
        f"the reference: a tile each {step_px} px, {found.reference_tiles:,} tiles, gaussian weights; moved by half a "
        f"step it flips {found.reference_moved.flips:.2%} itself; {found.interior_px / 1e6:.3g} Mpx of interior; near "
        f"borders: within {tile_px // NEAR} px of a tile's border in either grid, far from them: {tile_px // FAR} px "
        "or more"
    )


def _kinds(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text.split(",")))
    for word in found:
        if word not in KINDS:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(KINDS)}")
    return found


def _say(line: str) -> None:
    print(f"kda-bench: {line}", file=sys.stderr, flush=True)
