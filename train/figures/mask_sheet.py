"""Masks of several models side by side with the truth, errors coloured, as in Fig. 4 of KDA.

Source of the figure's form: doi 10.1109/LGRS.2025.3597685. A mask is that of the whole image, tiled as the runtime
and `kda-train evaluate` tile it, also where only a window of it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract
from kda_edge.metrics import ConfusionCounts
from kda_edge.networks.checkpoint import Checkpoint
from kda_edge.paths import resolved
from kda_edge.tiling.fill_nodata import fill_nodata
from kda_edge.tiling.predict import predict
from kda_edge.tiling.tile_grid import TileGrid, default_overlap_px

from ..data.crops import read_labelled
from ..data.labels import IGNORED, LANDSLIDE
from ..data.sources import Sample
from ..segmentation.evaluate import SampleSource, engine_from_student
from .colouring import (
    FALSE_ALARM,
    FOUND,
    MISSED,
    REJECTED,
    UNJUDGED,
    coloured_outcomes,
    displayed,
    hatch,
    outcome_swatches,
    truth_of,
)
from .compared_models import described, same_pixels
from .landslide_window import Bounds, sample_name
from .panel_sheet import Bytes, Panel, fitted_hw, sheet

LEGEND: Final = (
    (FOUND, "landslide, found"),
    (FALSE_ALARM, "false alarm"),
    (MISSED, "missed"),
    (REJECTED, "background"),
    (UNJUDGED, "not judged"),
)


@dataclass(frozen=True)
class Model:
    """A checkpoint to compare.

    Attributes:
        name: for the figure.
        file: where it comes from.
        checkpoint: its network, on the device that computes.
        input: the pixels that the data declares, with the mean and std that the network was trained with.
    """

    name: str
    file: Path
    checkpoint: Checkpoint
    input: InputContract


@dataclass(frozen=True)
class Judgement:
    """What came of a model's answer to one sample, against its mask.

    Attributes:
        outcomes: of the shown window, (H, W).
        shown: counts of that window.
        whole: counts of the whole sample.
    """

    outcomes: NDArray[np.uint8]
    shown: ConfusionCounts
    whole: ConfusionCounts


def model_from_checkpoint(name: str, file: Path, checkpoint: Checkpoint, data_input: InputContract) -> Model:
    """Pair a checkpoint with the data's pixels; a bare state dict, silent on them, takes them as declared.

    Raises:
        UsageError: it was trained on other imagery.
    """
    if not checkpoint.declared:
        return Model(name, file, checkpoint, data_input)
    if not same_pixels(checkpoint.input, data_input):
        raise UsageError(
            f"{file} was trained on {described(checkpoint.input)} and the data is {described(data_input)}; "
            "compare models on imagery of their own kind"
        )
    return Model(name, file, checkpoint, checkpoint.input)


def distinct_names(files: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart, without the ending: `best`, or `kd/best`.

    Raises:
        UsageError: two are the same file.
    """
    paths = [resolved(file).with_suffix("") for file in files]
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UsageError("two of the checkpoints are the same file; give each once")


def outcomes_of(
    labels: NDArray[np.uint8], probability: NDArray[np.float32], threshold: float, failed: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return what came of each pixel, (H, W); none is judged where the mask, the image or the engine says nothing.

    Args:
        labels: (H, W).
        probability: of landslide, (H, W), NaN where it is not known.
        threshold: from which on a pixel counts as landslide, as in the runtime.
        failed: (H, W), where a tile was not answered.
    """
    claimed, truth = probability >= np.float32(threshold), labels == LANDSLIDE
    outcomes = np.full(labels.shape, REJECTED, np.uint8)
    outcomes[claimed & truth] = FOUND
    outcomes[claimed & ~truth] = FALSE_ALARM
    outcomes[~claimed & truth] = MISSED
    outcomes[(labels == IGNORED) | ~np.isfinite(probability) | failed] = UNJUDGED
    return outcomes


def counts_of(outcomes: NDArray[np.uint8]) -> ConfusionCounts:
    """Count what came of the pixels."""
    counts = np.bincount(outcomes.reshape(-1), minlength=UNJUDGED + 1)
    return ConfusionCounts(
        tp=int(counts[FOUND]), fp=int(counts[FALSE_ALARM]), fn=int(counts[MISSED]), tn=int(counts[REJECTED])
    )


def judge(model: Model, sample: Sample, data_input: InputContract, window: Bounds, device: torch.device) -> Judgement:
    """Predict a sample whole, as a stream, and keep the window that is shown.

    Args:
        model: on the device.
        sample: with a mask.
        data_input: the pixels that the data declares.
        window: bounds in the file.
        device: where the model is.
    """
    tile_px = model.checkpoint.tile_px
    grid = TileGrid(sample.height_px, sample.width_px, tile_px, default_overlap_px(tile_px))
    left, top, right, _ = sample.window_ltrb
    engine = engine_from_student(model.checkpoint.student, model.input, device)
    whole, rows = ConfusionCounts(), []
    for band in predict(SampleSource(sample, data_input), grid, engine):
        first = top + band.row_px
        labels = read_labelled(sample, data_input, (left, first, right, first + len(band.probability)))[2]
        outcomes = outcomes_of(labels, band.probability, model.checkpoint.threshold, band.failed)
        whole += counts_of(outcomes)
        above, below = max(window[1] - first, 0), max(window[3] - first, 0)
        rows.append(outcomes[above:below, window[0] - left : window[2] - left])
    shown = np.concatenate(rows)
    return Judgement(shown, counts_of(shown), whole)


def sample_row(
    sample: Sample, data_input: InputContract, window: Bounds, judged: Sequence[tuple[Model, Judgement]], panel_px: int
) -> list[Panel]:
    """Return the panels of one image: the image, its truth, and each model's mask with its IoU.

    Args:
        sample: with a mask.
        data_input: the pixels that the data declares; 16-bit and float imagery is shown from low to high.
        window: bounds in the file.
        judged: what each model says.
        panel_px: longest side of each picture.
    """
    image, valid, labels = read_labelled(sample, data_input, window)
    low, high = data_input.value_range
    share = np.clip((fill_nodata(image, valid).astype(np.float64) - low) / (high - low), 0, 1)
    size_hw = fitted_hw(labels.shape[0], labels.shape[1], panel_px)
    left, top, right, bottom = window
    where = [f"{right - left} x {bottom - top} px"]
    if window != sample.window_ltrb:
        where.append(f"columns {left} to {right - 1}, rows {top} to {bottom - 1}")
    slide, known = float((labels == LANDSLIDE).sum()), float((labels != IGNORED).sum())
    picture = displayed(share, size_hw)
    hatch(picture, ~valid)
    panels = [
        Panel(picture, sample_name(sample), tuple(where)),
        Panel(coloured_outcomes(truth_of(labels), size_hw), "truth", (f"landslide {slide / max(known, 1):.1%}",)),
    ]
    for model, one in judged:
        captions = [_iou(one.shown)]
        if window != sample.window_ltrb:
            captions = [f"{_iou(one.shown)} here", f"{_iou(one.whole)} in the whole image"]
        title = f"{model.name} (threshold {model.checkpoint.threshold:g})"
        panels.append(Panel(coloured_outcomes(one.outcomes, size_hw), title, tuple(captions)))
    return panels


def mask_sheet(rows: Sequence[Sequence[Panel]], notes: Sequence[str]) -> Bytes:
    """Return the figure of all rows, with its legend, (h, w, 3) RGB."""
    return sheet(rows, legends=outcome_swatches(LEGEND), notes=notes)


def _iou(counts: ConfusionCounts) -> str:
    return "IoU undefined: no landslide" if math.isnan(counts.iou) else f"IoU {counts.iou:.3f}"
