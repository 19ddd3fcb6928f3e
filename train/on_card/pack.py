"""Packing a data set: all images of a data file, read as training reads them, into one file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract
from kda_edge.tiling.fill_nodata import fill_nodata

from ..data.crops import draws, read_labelled
from ..data.data_file import DataRequest, load_data
from ..data.labels import shrunk_labels
from ..data.sources import SPLITS, Sample
from ..data.unlabelled import load_images
from .packed_set import LOSSLESS, Labelled, PackedImage, write_packed_set

TRAIN_CROP_PX = 256  # by which the crops of a scene without declared draws are counted


def main() -> None:
    """Pack a data set and say how large it became."""
    parser = argparse.ArgumentParser(prog="pack", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--unlabelled", type=Path)
    parser.add_argument("--quality", type=int, default=LOSSLESS)
    parser.add_argument("--halve", nargs="*", default=[], metavar="SOURCE")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    count = write_packed_set(
        options.out,
        packed(options.data, options.data_root, options.unlabelled, options.halve),
        quality=options.quality,
    )
    print(f"{options.out}: {count} images, {options.out.stat().st_size / 1e6:.1f} MB")


def packed(data: Path, root: Path | None, unlabelled: Path | None, halve: list[str]) -> Iterator[Labelled]:
    """Yield each image of a data file, and of a folder without labels, as a packed set holds it."""
    found = load_data(DataRequest(data, seed=0, root=root))
    if found.input.pixel_type != "uint8":
        raise UsageError(f"{data} declares {found.input.pixel_type}; a packed set holds 8-bit imagery alone")
    for split in SPLITS:
        for sample in found.samples[split]:
            yield _packed(sample, split, found.input, 2 if sample.source.name in halve else 1)
    if unlabelled is not None:
        for sample in load_images(DataRequest(unlabelled, seed=0)).samples["train"]:
            yield _packed(sample, "train", found.input, 1)


def _packed(sample: Sample, split: str, contract: InputContract, shrink: int) -> Labelled:
    image, valid, labels = read_labelled(sample, contract, sample.window_ltrb)
    rgb = fill_nodata(image, valid)
    if shrink > 1:
        height, width = labels.shape[0] // shrink, labels.shape[1] // shrink
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        labels = shrunk_labels(labels, shrink)
    facts = PackedImage(
        name=sample.image.stem,
        source=sample.source.name,
        group=sample.group,
        split=split,
        draws=draws(sample, TRAIN_CROP_PX),
        is_scene=sample.source.layout == "scenes",
    )
    return Labelled(facts, np.ascontiguousarray(rgb, np.uint8), labels)


if __name__ == "__main__":
    main()
