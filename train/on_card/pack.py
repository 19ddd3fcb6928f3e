"""Packing of a data set: all its images, as training reads them, as a packed set holds them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract
from kda_edge.tiling.fill_nodata import fill_nodata

from ..data.crops import draws, read_labelled
from ..data.data_file import DataRequest, DataSet
from ..data.labels import shrunk_labels
from ..data.sources import SPLITS, Sample
from ..data.unlabelled import load_images
from .packed_set import Labelled, PackedImage

COUNTED_CROP_PX: Final = 256  # by which the crops of a scene without declared draws are counted


def packed(data: DataSet, *, unlabelled: Path | None = None, halved: Collection[str] = ()) -> Iterator[Labelled]:
    """Yield each image of a data set, and then of a folder without labels, which is learned from.

    Args:
        data: checked; 8-bit imagery.
        unlabelled: folder of images, searched to any depth; None: none.
        halved: sources whose images are halved in height and width.

    Raises:
        UsageError: imagery that is not 8-bit, or a source that is not there.
        DataError: an image without labels that is not as declared; it is named.
    """
    if data.input.pixel_type != "uint8":
        raise UsageError(f"a packed set holds 8-bit imagery alone, and this is {data.input.pixel_type}")
    known = {sample.source.name for split in SPLITS for sample in data.samples[split]}
    for name in sorted(set(halved) - known):
        raise UsageError(f"--halve {name} is no source; choose among {', '.join(sorted(known))}")
    return _packed(data, unlabelled, halved)


def _packed(data: DataSet, unlabelled: Path | None, halved: Collection[str]) -> Iterator[Labelled]:
    for split in SPLITS:
        for sample in data.samples[split]:
            yield _one(sample, split, data.input, 2 if sample.source.name in halved else 1)
    if unlabelled is not None:
        for sample in load_images(DataRequest(unlabelled, seed=0)).samples["train"]:
            yield _one(sample, "train", data.input, 1)


def _one(sample: Sample, split: str, contract: InputContract, shrink: int) -> Labelled:
    image, valid, labels = read_labelled(sample, contract, sample.window_ltrb)
    rgb = fill_nodata(image, valid)
    if shrink > 1:
        height, width = labels.shape[0] // shrink, labels.shape[1] // shrink
        rgb = cv2.resize(rgb[: height * shrink, : width * shrink], (width, height), interpolation=cv2.INTER_AREA)
        labels = shrunk_labels(labels, shrink)
    facts = PackedImage(
        name=sample.image.stem,
        source=sample.source.name,
        group=sample.group,
        split=split,
        draws=draws(sample, COUNTED_CROP_PX),
        is_scene=sample.source.layout == "scenes",
        licence=sample.source.licence,
    )
    return Labelled(facts, np.ascontiguousarray(rgb, np.uint8), labels)
