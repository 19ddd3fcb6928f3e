"""A packed data set: labelled images of several sources in one small file, for a machine without them and without GDAL.

It is a ZIP archive of `index.json`, `images/N.webp` and `labels/N.png`; labels are 0 background, 1 landslide and 255
not judged, or not labelled at all.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import DataError
from kda_edge.paths import is_file
from kda_edge.whole_files import staged

INDEX: Final = "index.json"
FORMAT: Final = 1
LOSSLESS: Final = 101  # of OpenCV's WebP quality


@dataclass(frozen=True)
class PackedImage:
    """An image of a packed set, without its pixels.

    Attributes:
        name: of the file that it was read from, without ending.
        source: name of the data file's source.
        group: what it is split and reported by.
        split: `train`, `val` or `test`.
        draws: how often it is cut from, in relation to the others.
        is_scene: whether it was declared a scene.
        licence: terms of its source's imagery; empty: not said.
    """

    name: str
    source: str
    group: str
    split: str
    draws: float
    is_scene: bool
    licence: str = ""


@dataclass(frozen=True)
class Labelled:
    """An image of a packed set with its pixels.

    Attributes:
        facts: what it is.
        rgb: (H, W, 3) uint8.
        labels: (H, W) uint8.
    """

    facts: PackedImage
    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def write_packed_set(path: Path, images: Iterable[Labelled], *, quality: int) -> int:
    """Write a packed set, whole or not at all; return how many images it holds.

    Args:
        path: of the file.
        images: read one by one.
        quality: of WebP, 1 to 100; 101 is lossless.
    """
    facts = []
    with staged(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for number, image in enumerate(images):
            bgr = np.ascontiguousarray(image.rgb[:, :, ::-1])
            pixels = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
            labels = cv2.imencode(".png", image.labels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
            archive.writestr(f"images/{number}.webp", pixels.tobytes())
            archive.writestr(f"labels/{number}.png", labels.tobytes())
            facts.append(asdict(image.facts))
        archive.writestr(INDEX, json.dumps({"format": FORMAT, "images": facts}, indent=1))
    return len(facts)


def read_packed_set(path: Path) -> Iterator[Labelled]:
    """Read the images of a packed set one by one.

    Raises:
        DataError: the file is no packed set, or damaged.
    """
    if not is_file(path):
        raise DataError(f"there is no packed set {path}; make one with: kda-train pack")
    try:
        with zipfile.ZipFile(path) as archive:
            index: dict[str, Any] = json.loads(archive.read(INDEX))
            if index["format"] != FORMAT:
                raise DataError(f"{path} has format {index['format']}, not {FORMAT}; pack the data set again")
            for number, facts in enumerate(index["images"]):
                bgr = _decoded(archive.read(f"images/{number}.webp"), cv2.IMREAD_COLOR)
                labels = _decoded(archive.read(f"labels/{number}.png"), cv2.IMREAD_GRAYSCALE)
                yield Labelled(PackedImage(**facts), np.ascontiguousarray(bgr[:, :, ::-1]), labels)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no packed set, or damaged ({error}); pack the data set again") from error


def _decoded(encoded: bytes, mode: int) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), mode)
    if pixels is None:
        raise ValueError("an image can't be decoded")
    return np.asarray(pixels, np.uint8)
