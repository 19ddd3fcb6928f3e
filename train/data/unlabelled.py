"""Imagery without labels, for phase 1: any folder of images or scenes, one scene, or the train split of labelled data.

What is held out must never be seen, not even without its labels: the figures on it would be too good.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import NoReturn

from kda_edge.errors import DataError
from kda_edge.manifest import InputContract
from kda_edge.paths import is_dir, is_file, resolved

from .crops import CACHED_IMAGE_PX
from .data_file import DataRequest, DataSet, check_samples, declared_sources, require_statistics, source_from_folder
from .image_files import read_facts
from .pairing import ENDINGS, find_samples, split_samples
from .sources import Sample, Source


def load_images(request: DataRequest) -> DataSet:
    """Find the images that phase 1 may see, and check the header of every one of them.

    Args:
        request: for labelled data as `load_data` takes it, of which only the train split is used, without its masks; or
            for any other folder, searched to any depth; or for one image.

    Returns:
        Samples without masks, all in `train`; the large ones are scenes, whatever their source says.

    Raises:
        DataError: no images, an image that is not as declared, or one that is held out; the file is named.
        OSError: a folder that can't be read; it is named.
    """
    path = resolved(request.path)
    if (is_file(path) and path.suffix.lower() in ENDINGS) or (is_dir(path) and source_from_folder(path) is None):
        contract = request.input or InputContract()
        sources: tuple[Source, ...] = (Source(path.stem, path.name, images="", masks=""),)
        base = path.parent
    else:
        contract, sources, base = declared_sources(request)
    require_statistics(contract, request)
    samples: list[Sample] = []
    held_out: dict[Path, str] = {}
    for source in sources:
        if not source.masks:
            samples.extend(_find_images(source, base / source.root / source.images))
            continue
        splits = split_samples(source, find_samples(source, base / source.root), request.seed)
        samples.extend(dataclasses.replace(sample, mask=None) for sample in splits["train"])
        held_out.update({resolved(sample.image): source.name for sample in splits["val"] + splits["test"]})
    if not samples:
        raise DataError(f"{path} has no images in its train split; name groups or fractions for it in the data file")
    check_samples(samples, contract)
    for sample in samples:
        # A labelled source divides its own images; a source without masks knows nothing of the others' splits.
        if not sample.source.masks and resolved(sample.image) in held_out:
            raise DataError(
                f"{sample.image} is held out by source {held_out[resolved(sample.image)]} and lies in source "
                f"{sample.source.name}, which has no masks; move it elsewhere, or leave one of the sources out"
            )
    return DataSet(contract, {"train": tuple(map(_as_scene_if_large, samples)), "val": (), "test": ()}, request)


def with_unlabelled(data: DataSet, request: DataRequest) -> DataSet:
    """Return a labelled data set with the images of its sources without masks among those that are learned from.

    Args:
        data: as `load_data` returns it for the request.
        request: a data file, or a folder, which has no such sources.

    Raises:
        DataError: as `load_images`.
    """
    more = tuple(one for one in load_images(request).samples["train"] if not one.source.masks)
    return dataclasses.replace(data, samples={**data.samples, "train": (*data.samples["train"], *more)})


def _as_scene_if_large(sample: Sample) -> Sample:
    if sample.height_px * sample.width_px <= CACHED_IMAGE_PX:
        return sample
    return dataclasses.replace(sample, source=dataclasses.replace(sample.source, layout="scenes"))


def _find_images(source: Source, place: Path) -> list[Sample]:
    """Return the images of a source without masks.

    The group is the folder of an image below `place`, or `unlabelled` where it lies in `place` itself.
    """
    samples = []
    for image in _images_below(place):
        facts = read_facts(image)
        inside = "" if image == place else image.parent.relative_to(place).as_posix()
        samples.append(
            Sample(
                source=source,
                group=inside if inside not in ("", ".") else "unlabelled",
                image=image,
                mask=None,
                valid=None,
                window_ltrb=(0, 0, facts.width_px, facts.height_px),
            )
        )
    return samples


def _images_below(place: Path) -> list[Path]:
    """Return all images in a folder and the folders below, sorted; links are followed, hidden names skipped."""
    if is_file(place):
        return [place]
    if not is_dir(place):
        raise DataError(f"there is no folder or image {place}")
    found: list[Path] = []
    seen: set[Path] = set()  # links may lead in circles
    for name, folders, files in os.walk(place, followlinks=True, onerror=_raise):
        here = Path(name)
        if resolved(here) in seen:
            folders.clear()
            continue
        seen.add(resolved(here))
        if {"images", "masks"} <= set(folders) or {"img", "mask"} <= set(folders):
            raise DataError(
                f"{here} holds labelled images, and which of them are held out is unknown here; "
                "describe it in a TOML file, or give its folder of images alone if all of them may be seen"
            )
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        found.extend(here / f for f in files if Path(f).suffix.lower() in ENDINGS and not f.startswith("."))
    if not found:
        raise DataError(f"{place} holds no images ({', '.join(ENDINGS)})")
    return sorted(found)


def _raise(error: OSError) -> NoReturn:
    raise error
