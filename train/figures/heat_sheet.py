"""Heat maps of several models over one image, with figures, as in Fig. 1 of KDA (doi 10.1109/LGRS.2025.3597685).

Every model sees the same pixels, clipped to the declared range, with its own mean and std. Their sides are resized
(bilinear) up to what it takes: multiples of 32 px, or of the patch for a Vision Transformer. So each grid of features
covers exactly the image, and a map is brought back to the image by plain interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kda_edge.errors import TrainingError, UsageError

from ..data.labels import BACKGROUND
from ..distillation.frozen_backbones import FrozenBackbone
from .colouring import coloured_heat, cross, displayed, hatch, heat_bar, outline
from .compared_models import ComparedModel, input_hw
from .heatmaps import (
    Separation,
    centred,
    feature_at,
    grad_cam,
    mean_feature,
    separation,
    shares_on_grid,
    similarity_map,
    upsampled,
)
from .image_view import ImageView
from .panel_sheet import Bytes, Panel, fitted_hw, sheet


@dataclass(frozen=True)
class HeatMap:
    """A heat map of one model over the image view, with its figures.

    Attributes:
        name: of the model.
        values: (H, W).
        grid_hw: of the features that it comes from.
        input_hw_px: of what the network was given.
        separated: inside against outside the landslide, by kind of map, that of `values` first; empty without a mask,
            or where there is no inside or no outside.
        unit: what the values were divided by.
    """

    name: str
    values: NDArray[np.float32]
    grid_hw: tuple[int, int]
    input_hw_px: tuple[int, int]
    separated: dict[str, Separation]
    unit: float = 1.0

    def figures(self) -> dict[str, Any]:
        """Return the map in figures, for JSON."""
        return {
            "name": self.name,
            "grid_hw": list(self.grid_hw),
            "input_hw_px": list(self.input_hw_px),
            "lowest": float(self.values.min()),
            "highest": float(self.values.max()),
            "unit": self.unit,
            "separation": {kind: one.as_dict() for kind, one in self.separated.items()},
        }

    def captions(self) -> tuple[str, ...]:
        """Return the map in figures, for people."""
        rows, cols = self.grid_hw
        words = [f"{rows} x {cols} features"]
        if not self.values.any():
            words.append("0 everywhere: try another --stage")
        for number, (kind, one) in enumerate(self.separated.items()):
            if number == 0:
                words.append(f"inside {one.inside:.3f}, outside {one.outside:.3f}")
            other = f"{kind}: " if number else ""
            words.append(f"{other}difference {one.difference:+.3f}, AUC {one.auc:.3f}")
        return tuple(words)


@torch.no_grad()
def similarity_heat(name: str, backbone: FrozenBackbone, view: ImageView, *, centre: bool = False) -> HeatMap:
    """Return how similar the feature of each position is to that of the landslide, or of the chosen pixel.

    The landslide's feature is the mean of the last map, each position weighted by the share of its area that the
    mask calls landslide.

    Args:
        name: for the figure.
        backbone: on the device that computes.
        view: with a mask that shows landslide, or a pixel.
        centre: draw the map of the features without their mean over the image; the figures are given for both.

    Raises:
        TrainingError: features that are not finite.
    """
    image = view.tensor(backbone.mean.device)
    features = backbone(image)[-1][0].float()
    if not bool(torch.isfinite(features).all()):
        raise TrainingError(
            f"the features of {name} are not finite; its training has diverged, or its weights don't fit"
        )
    grid_hw = (int(features.shape[1]), int(features.shape[2]))
    maps = {"raw": _similarity(features, view), "centred": _similarity(centred(features), view)}
    kinds = ("centred", "raw") if centre else ("raw", "centred")
    separated = {kind: found for kind in kinds if (found := _separated(maps[kind], view)) is not None}
    return HeatMap(name, maps[kinds[0]], grid_hw, input_hw(backbone, view.size_hw), separated)


def gradcam_heat(model: ComparedModel, view: ImageView, stage: int) -> HeatMap:
    """Return the Grad-CAM of a network's landslide logit, divided by its largest value: 0..1.

    The score is the mean logit over the mask's landslide, at the chosen pixel, or, without either, over what the
    network itself calls landslide.

    Args:
        model: with a network, on the device that computes.
        view: what is shown.
        stage: of the encoder, 1 to 4.

    Raises:
        UsageError: no landslide is predicted and none is given, or no such stage.
        TrainingError: a map that is not finite.
    """
    network = model.network
    assert network is not None
    image = model.normalised(view.tensor(model.backbone.mean.device))
    size_hw = (int(image.shape[2]), int(image.shape[3]))
    heat = grad_cam(network, image, stage, _target(model, image, view))
    if not bool(torch.isfinite(heat).all()):
        raise TrainingError(f"the map of {model.name} is not finite; its training has diverged")
    unit = float(heat.max()) or 1.0
    values = upsampled(heat / unit, view.size_hw)
    found = _separated(values, view)
    separated = {} if found is None else {"gradcam": found}
    return HeatMap(model.name, values, (heat.shape[0], heat.shape[1]), size_hw, separated, unit)


def common_range(heats: Sequence[HeatMap]) -> tuple[float, float]:
    """Return one range for all similarities: their lowest and highest, rounded outwards to tenths, within -1..1."""
    low = math.floor(min(float(heat.values.min()) for heat in heats) * 10) / 10
    high = math.ceil(max(float(heat.values.max()) for heat in heats) * 10) / 10
    low, high = max(low, -1.0), min(high, 1.0)
    return (low, high) if high > low else (low - 0.1, high + 0.1)


def heat_sheet(
    view: ImageView,
    title: str,
    heats: Sequence[HeatMap],
    low_high: tuple[float, float],
    *,
    meaning: str,
    notes: Sequence[str],
    panel_px: int,
) -> Bytes:
    """Return the figure: the image, then each heat over it in grey, with one scale of colours, (h, w, 3) RGB.

    Args:
        view: what is shown.
        title: of the image.
        heats: one a model.
        low_high: ends of the scale.
        meaning: of the colours.
        notes: below.
        panel_px: longest side of each picture.
    """
    picture = displayed(view.share, fitted_hw(*view.size_hw, panel_px))
    left, top, right, bottom = view.window_ltrb
    where = "" if view.whole else f"columns {left} to {right - 1}, rows {top} to {bottom - 1} of it"
    captions = (f"{right - left} x {bottom - top} px", *([where] if where else []))
    panels = [Panel(picture, title, captions)]
    panels += [Panel(coloured_heat(picture, h.values, low_high), h.name, h.captions()) for h in heats]
    for panel in panels:
        hatch(panel.picture, ~view.valid)
        if view.landslide.any():
            outline(panel.picture, view.labels)
        if view.at_xy is not None:
            x_px, y_px = view.at_xy
            cross(panel.picture, (x_px + 0.5) / view.size_hw[1], (y_px + 0.5) / view.size_hw[0])
    return sheet([panels], legends=[heat_bar(low_high, meaning)], notes=notes)


def _similarity(features: Tensor, view: ImageView) -> NDArray[np.float32]:
    if view.at_xy is None:
        grid_hw = (int(features.shape[1]), int(features.shape[2]))
        weights = shares_on_grid(torch.from_numpy(view.landslide).to(features.device), grid_hw)
        reference = mean_feature(features, weights)
    else:
        reference = feature_at(features, *view.at_xy, view.size_hw)
    return upsampled(similarity_map(features, reference), view.size_hw)


def _separated(values: NDArray[np.float32], view: ImageView) -> Separation | None:
    return separation(values, view.landslide, view.labels == BACKGROUND)


@torch.no_grad()
def _target(model: ComparedModel, image: Tensor, view: ImageView) -> Tensor:
    """Return the weight of each pixel of the network's input in the score, (H, W)."""
    assert model.network is not None
    size_hw = (int(image.shape[2]), int(image.shape[3]))
    chosen = view.landslide
    if view.at_xy is not None:
        chosen = np.zeros(view.size_hw, np.bool_)
        chosen[view.at_xy[1], view.at_xy[0]] = True
    if chosen.any():
        return shares_on_grid(torch.from_numpy(chosen).to(image.device), size_hw).to(image.dtype)
    predicted: Tensor = torch.sigmoid(model.network(image))[0, 0] >= np.float32(model.threshold)
    if not bool(predicted.any()):
        raise UsageError(f"{model.name} finds no landslide in the image; say with --mask or --at what to explain")
    return predicted.to(image.dtype)
