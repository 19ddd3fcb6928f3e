"""Example pictures of a report: an image with its truth and what the student maps, both outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from kda_edge.metrics import ConfusionCounts
from kda_edge.networks.checkpoint import Checkpoint
from kda_edge.tiling.fill_nodata import fill_nodata

from ..data.crops import read_labelled
from ..data.data_file import DataSet
from ..data.sources import Sample
from ..figures.colouring import FALSE_ALARM, FOUND, MISSED, OUTCOME_COLORS, displayed, hatch, outline
from ..figures.landslide_window import sample_name, window_of
from ..figures.mask_sheet import judge, model_from_checkpoint
from ..figures.panel_sheet import PAPER, fitted_hw

WINDOW_PX: Final = 1024  # larger images are cut to this around a pixel of landslide
PICTURE_PX: Final = 360  # longest side
TRUTH_COLOR: Final = PAPER
CLAIM_COLOR: Final = OUTCOME_COLORS[FALSE_ALARM]


@dataclass(frozen=True)
class Example:
    """One image of a report.

    Attributes:
        name: of the image.
        png: the picture.
        counts: of the whole image.
        part: which part is shown; empty: all of it.
    """

    name: str
    png: bytes
    counts: ConfusionCounts
    part: str = ""


def examples_of(
    scored: Sequence[tuple[Sample, ConfusionCounts]], checkpoint: Checkpoint, data: DataSet, device: torch.device
) -> list[Example]:
    """Return the picture of each image, with the outlines of truth and of what the student claims.

    Args:
        scored: images with their counts.
        checkpoint: its student on the device; its threshold and tiles are taken.
        data: that they are of.
        device: where the student is.
    """
    model = model_from_checkpoint("student", Path(), checkpoint, data.input)
    made = []
    for sample, counts in scored:
        window = window_of(sample, data, WINDOW_PX, np.random.default_rng(0))
        outcomes = judge(model, sample, data.input, window, device).outcomes
        image, valid, _ = read_labelled(sample, data.input, window)
        low, high = data.input.value_range
        share = np.clip((fill_nodata(image, valid).astype(np.float64) - low) / (high - low), 0, 1)
        picture = displayed(share, fitted_hw(outcomes.shape[0], outcomes.shape[1], PICTURE_PX))
        hatch(picture, ~valid)
        outline(picture, np.isin(outcomes, (FOUND, MISSED)).astype(np.uint8), TRUTH_COLOR)
        outline(picture, np.isin(outcomes, (FOUND, FALSE_ALARM)).astype(np.uint8), CLAIM_COLOR)
        left, top, right, bottom = window
        part = "" if window == sample.window_ltrb else f"columns {left} to {right - 1}, rows {top} to {bottom - 1}"
        made.append(Example(sample_name(sample), cv2.imencode(".png", picture[..., ::-1])[1].tobytes(), counts, part))
    return made
