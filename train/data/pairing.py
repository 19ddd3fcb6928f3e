"""Images of a source paired with their masks and groups, and divided into splits."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from kda_edge.errors import DataError
from kda_edge.paths import is_dir, is_file

from .image_files import read_facts
from .sources import SPLITS, Sample, Source

ENDINGS: Final = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".webp")
SPLIT_FOLDERS: Final = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
PAPER_FRACTIONS: Final = (0.8, 0.1, 0.1)  # 8:1:1


def find_samples(source: Source, root: Path) -> list[Sample]:
    """Pair the images of a source with their masks.

    Raises:
        DataError: no images, two of one name, an image without its mask, or no row in the index.
    """
    if not is_dir(root):
        raise DataError(f"source {source.name}: there is no folder {root}")
    places = _places(source, root)
    if not places and source.layout == "splits":
        raise DataError(f"{root} has no train/, val/ or test/ with {source.images}/ and {source.masks}/")
    if not places:
        raise DataError(f"{root} has no region folders with img/ and mask/; is it the CAS layout?")
    group_of = _groups_from_index(source, root)
    valid_of = _by_stem(root / source.valid) if source.valid else {}
    samples = []
    for region, images, masks in places:
        mask_of = _by_stem(masks)
        for stem, image in _by_stem(images).items():
            if stem not in mask_of:
                raise DataError(f"{image} has no mask {stem}.* in {masks}; add it, or move the image away")
            if source.valid and stem not in valid_of:
                raise DataError(f"{image} has no valid mask {stem}.* in {root / source.valid}")
            if group_of is not None and stem not in group_of:
                raise DataError(f"{image} has no row in {root / source.index}; add one with {source.key} = {stem}")
            group = group_of[stem] if group_of is not None else (region or stem)
            facts = read_facts(image)
            whole = (0, 0, facts.width_px, facts.height_px)
            samples.append(Sample(source, group, image, mask_of[stem], valid_of.get(stem), whole))
    return samples


def orphan_masks(source: Source, root: Path) -> list[Path]:
    """Return the masks of a source, valid masks too, that belong to no image; its folders must be there."""
    orphans: list[Path] = []
    all_stems: set[str] = set()
    for _, images, masks in _places(source, root):
        stems = {path.stem for path in _image_files(images)}
        orphans += [path for path in _image_files(masks) if path.stem not in stems]
        all_stems |= stems
    if source.valid:
        orphans += [path for path in _image_files(root / source.valid) if path.stem not in all_stems]
    return orphans


def split_folders(root: Path, images: str = "images", masks: str = "masks") -> dict[str, Path]:
    """Return the folder of each split that lies in a folder, by split; `valid` and `validation` are val as well.

    Raises:
        DataError: two folders of one split.
    """
    found: dict[str, Path] = {}
    for name, split in SPLIT_FOLDERS.items():
        folder = root / name
        if is_dir(folder / images) and is_dir(folder / masks):
            if split in found:
                raise DataError(f"{found[split]} and {folder} are both the {split} split; keep one of them")
            found[split] = folder
    return found


def _places(source: Source, root: Path) -> list[tuple[str, Path, Path]]:
    """Return the folders of images and masks, each pair with its region or split; empty: none."""
    if source.layout == "splits":
        folders = split_folders(root, source.images, source.masks)
        return [(split, folder / source.images, folder / source.masks) for split, folder in folders.items()]
    if source.layout != "cas":
        return [("", root / source.images, root / source.masks)]
    regions = sorted(p for p in root.iterdir() if is_dir(p / "img") and is_dir(p / "mask"))
    return [(region.name, region / "img", region / "mask") for region in regions]


def split_samples(source: Source, samples: Sequence[Sample], seed: int) -> dict[str, list[Sample]]:
    """Divide samples by folder, by group, by window, or at random, as the source says.

    Raises:
        DataError: a named group does not exist, or a window leaves its scene.
    """
    result: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    if source.layout == "splits":
        return {split: [sample for sample in samples if sample.group == split] for split in SPLITS}
    if source.windows:
        for split, window in source.windows.items():
            for sample in samples:
                left, top, right, bottom = window
                if not (0 <= left < right <= sample.width_px and 0 <= top < bottom <= sample.height_px):
                    raise DataError(f"source {source.name}: window {list(window)} does not lie in {sample.image.name}")
                result[split].append(dataclasses.replace(sample, group=split, window_ltrb=window))
        return result
    named = {"train": source.train, "val": source.val, "test": source.test}
    if any(named.values()):
        present = {sample.group for sample in samples}
        for split, groups in named.items():
            absent = sorted(set(groups) - present)
            if absent:
                raise DataError(f"source {source.name}: there is no group {absent[0]!r}; found {sorted(present)[:12]}")
            result[split] = [sample for sample in samples if sample.group in groups]
        return result
    order = np.random.default_rng([seed, len(samples)]).permutation(len(samples))
    train_share, val_share, _ = source.fractions or PAPER_FRACTIONS
    first, second = round(train_share * len(samples)), round((train_share + val_share) * len(samples))
    for split, chosen in zip(SPLITS, (order[:first], order[first:second], order[second:]), strict=True):
        result[split] = [samples[i] for i in sorted(chosen)]
    return result


def _groups_from_index(source: Source, root: Path) -> dict[str, str] | None:
    if not source.index:
        return None
    index = root / source.index
    if not is_file(index):
        raise DataError(f"source {source.name}: there is no index {index}")
    with index.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for column in (source.key, source.group):
        if rows and column not in rows[0]:
            raise DataError(f"{index} has no column {column!r}; it has {', '.join(rows[0])}")
    return {row[source.key]: row[source.group] for row in rows}


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _image_files(folder):
        if path.stem in found:
            raise DataError(f"{found[path.stem]} and {path.name} have the same name; keep one of them")
        found[path.stem] = path
    if not found:
        raise DataError(f"{folder} holds no images ({', '.join(ENDINGS)})")
    return found


def _image_files(folder: Path) -> Iterable[Path]:
    if not is_dir(folder):
        raise DataError(f"there is no folder {folder}")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and not path.name.startswith("."))
