"""An image view: the pixels and labels of the part of one image that several models are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kda_edge.errors import DataError, UsageError, quantity
from kda_edge.manifest import InputContract
from kda_edge.tiling.fill_nodata import fill_nodata

from ..data.crops import read_labelled
from ..data.data_file import check_sample
from ..data.image_files import read_facts
from ..data.labels import LANDSLIDE
from ..data.sources import Sample
from .compared_models import described
from .landslide_window import Bounds, landslide_window, window_around


@dataclass(frozen=True)
class ImageView:
    """The part of an image that is explained.

    Attributes:
        share: pixels as shares of the declared range, (H, W, 3) float32, 0..1, filled where there is no data.
        valid: where the image has data, (H, W).
        labels: (H, W), not judged where there is no data or no mask.
        at_xy: column and row of the pixel to compare with, from 0; None: the mask's landslide.
        window_ltrb: bounds in the file.
        whole: whether that is all of the file.
    """

    share: NDArray[np.float32]
    valid: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    at_xy: tuple[int, int] | None
    window_ltrb: Bounds
    whole: bool

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def landslide(self) -> NDArray[np.bool_]:
        """Where the mask says landslide."""
        slide: NDArray[np.bool_] = self.labels == LANDSLIDE
        return slide

    def tensor(self, device: torch.device) -> Tensor:
        """Return the pixels as (1, 3, H, W)."""
        return torch.from_numpy(self.share).permute(2, 0, 1)[None].to(device)


def read_view(
    sample: Sample, contract: InputContract, *, at_xy: tuple[int, int] | None, side_px: int, rng: np.random.Generator
) -> ImageView:
    """Read what is explained: all of an image, or a window of a large one around the pixel or around landslide.

    Args:
        sample: the image, with its mask if there is one.
        contract: the pixels that the models take.
        at_xy: column and row in the file, from 0.
        side_px: longest side of the view.
        rng: chooses the window of a large image with a mask.

    Raises:
        DataError: not an image of that kind, a mask that does not fit or holds no landslide, a pixel without data.
        UsageError: the pixel lies outside, or nothing says which part of a large image is meant.
    """
    facts = read_facts(sample.image)
    if facts.pixel_type != contract.pixel_type:
        raise DataError(
            f"{sample.image} is {facts.pixel_type} and the models were trained on {described(contract)}; "
            "give imagery of that kind"
        )
    if facts.bands < max(sample.source.bands):
        raise DataError(
            f"{sample.image} has {quantity(facts.bands, 'band')}, not {max(sample.source.bands)}; name them: --bands"
        )
    check_sample(sample, contract)
    within = (0, 0, facts.width_px, facts.height_px)
    if at_xy is not None:
        x_px, y_px = at_xy
        if not (0 <= x_px < facts.width_px and 0 <= y_px < facts.height_px):
            raise UsageError(
                f"the pixel --at {x_px} {y_px} lies outside {sample.image}, "
                f"whose columns are 0 to {facts.width_px - 1} and rows 0 to {facts.height_px - 1}"
            )
        window = window_around(x_px, y_px, within, side_px)
    elif sample.mask is not None:
        found = landslide_window(lambda bounds: read_labelled(sample, contract, bounds)[2], within, side_px, rng)
        if found is None:
            raise DataError(f"{sample.mask} holds no landslide where the image has data; give --at X Y instead")
        window = found
    elif max(facts.width_px, facts.height_px) <= side_px:
        window = within
    else:
        raise UsageError(f"{sample.image} is larger than {side_px} px; say which part is meant with --mask or --at")
    image, valid, labels = read_labelled(sample, contract, window)
    place = None if at_xy is None else (at_xy[0] - window[0], at_xy[1] - window[1])
    if at_xy is not None and place is not None and not valid[place[1], place[0]]:
        raise DataError(f"{sample.image} holds no data at --at {at_xy[0]} {at_xy[1]}; choose another pixel")
    low, high = contract.value_range
    share = (fill_nodata(image, valid).astype(np.float64) - low) / (high - low)
    return ImageView(np.clip(share, 0, 1).astype(np.float32), valid, labels, place, window, window == within)
