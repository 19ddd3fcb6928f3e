"""Errors and warnings in examined imagery: what no run should begin with, and what its user should know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kda_edge.errors import DataError
from kda_edge.manifest import InputContract

from ..data.crops import draws
from ..data.data_file import require_one_scaling
from ..data.sources import SPLITS
from .examined_samples import ExaminedSample
from .shared_ground import SharedGround

NAMED: Final = 3  # files that a line names
BEYOND_SHARE: Final = 1e-3  # of valid pixels outside the declared range: noted. A choice, unmeasured
USED_SHARE: Final = 0.25  # of the declared range that the values use: less is noted. A choice, unmeasured
GSD_FACTOR: Final = 4.0  # between the pixels of train and of a split that is judged: noted, as maps refuse it


@dataclass(frozen=True)
class RunPlan:
    """What a run would take from the imagery.

    Attributes:
        batch: crops a step, over all processes.
        crop_px: side of the crops.
    """

    batch: int
    crop_px: int


def errors_in(examined: Sequence[ExaminedSample]) -> Iterator[str]:
    """Yield what makes training pointless, a line each."""
    yield from dict.fromkeys(one.fault for one in examined if one.fault)
    try:
        require_one_scaling((one.sample.image, one.facts.scaling) for one in examined if one.facts is not None)
    except DataError as error:
        yield str(error)
    train, val = _of(examined, "train"), _of(examined, "val")
    total = sum(len(_of(examined, split)) for split in SPLITS)
    if not train:
        yield "no images are in the train split; name groups or fractions for it in the data file"
    elif not _landslide_px(train) and not _any_fault(train):
        yield (
            "no mask of the train split shows landslide, so there is nothing to learn; check the masks, and "
            "mask_landslide of their source"
        )
    if not val:
        yield (
            f"no images are in the val split ({total} in all), so nothing would choose the epoch and the threshold; "
            "add images, or name val groups or fractions in a data file"
        )
    elif not _landslide_px(val) and not _any_fault(val):
        yield (
            f"no mask of the val split ({len(val)} images) shows landslide, so nothing would choose the epoch and the "
            "threshold; add images with landslide, or name other val groups in a data file"
        )


def warnings_in(
    examined: Sequence[ExaminedSample],
    contract: InputContract,
    shared: Sequence[SharedGround],
    orphans: Sequence[str],
    plan: RunPlan | None,
) -> Iterator[str]:
    """Yield what the user should know, a line each."""
    test = _of(examined, "test")
    if not test:
        yield "no images are in the test split: the val split chooses epoch and threshold, so its figures flatter"
    elif not _landslide_px(test):
        yield f"no mask of the test split ({len(test)} images) shows landslide: its IoU will say nothing"
    yield from _of_the_plan(_of(examined, "train"), plan)
    yield from _of_groups(examined)
    if shared:
        yield _of_shared(shared)
    yield from _of_pixels(examined, contract)
    yield from _of_ground_sampling(examined, contract)
    if orphans:
        names = [Path(mask).name for mask in orphans]
        yield f"{_counted(orphans, 'mask has', 'masks have')} no image and will not be used: {_named(names)}"


def _of_the_plan(train: Sequence[ExaminedSample], plan: RunPlan | None) -> Iterator[str]:
    if plan is None or not train:
        return
    crops = sum(draws(one.sample, plan.crop_px) for one in train)
    if plan.batch > crops:
        yield (
            f"a batch of {plan.batch} is larger than what an epoch has, {crops} crops: an epoch is one smaller step; "
            "choose a smaller batch, or more `draws` in a data file"
        )
    small = [one for one in train if min(one.sample.height_px, one.sample.width_px) < plan.crop_px]
    if small:
        yield (
            f"{_counted(small, 'image', 'images')} of the train split, of {len(train)}, are smaller than the crops of "
            f"{plan.crop_px} px: what is missing is mirrored"
        )


def _of_groups(examined: Sequence[ExaminedSample]) -> Iterator[str]:
    splits: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for one in examined:
        if one.split in SPLITS and not one.sample.source.windows:
            splits[one.sample.source.name, one.sample.group][one.split] += 1
    both = [
        f"{source}/{group} ({', '.join(f'{count} in {split}' for split, count in counts.items() if count)})"
        for (source, group), counts in splits.items()
        if sum(count > 0 for count in counts.values()) > 1
    ]
    if both:
        yield (
            f"{_counted(both, 'group is', 'groups are')} in several splits: {_named(both)}; figures on places that "
            "were learned from flatter: name groups for each split in a data file"
        )


def _of_shared(shared: Sequence[SharedGround]) -> str:
    held_out = {one.second for one in shared}
    return (
        f"{_counted(shared, 'pair of images shares', 'pairs of images share')} ground across splits, with "
        f"{_counted(held_out, 'held-out image', 'held-out images')}: figures on them flatter; keep what overlaps "
        f"in one split; worst: {_named([in_words(one) for one in shared])}"
    )


def in_words(shared: SharedGround) -> str:
    """Return a pair of images as half a sentence."""
    turned = ", mirrored" * shared.mirrored + f", turned by {90 * shared.turned} degrees" * (shared.turned > 0)
    known = f"correlation {shared.correlation:.3f}" if shared.correlation is not None else f"by {shared.known_by}"
    (one, first), (other, second) = shared.first, shared.second
    return f"{one} {Path(first).name} and {other} {Path(second).name} {shared.share:.0%} ({known}{turned})"


def _of_pixels(examined: Sequence[ExaminedSample], contract: InputContract) -> Iterator[str]:
    known = [(one.sample.image, one.facts) for one in examined if one.facts is not None]
    empty = [path for path, facts in known if not facts.valid_px]
    if empty:
        yield f"{_counted(empty, 'image holds', 'images hold')} no data at all: {_named_paths(empty)}"
    flat = [path for path, facts in known if facts.valid_px and facts.is_flat]
    if flat:
        yield f"{_counted(flat, 'image is', 'images are')} of one value only: {_named_paths(flat)}"
    non_finite = [path for path, facts in known if facts.non_finite_px]
    if non_finite:
        yield (
            f"{_counted(non_finite, 'image has', 'images have')} pixels that are NaN or infinite, which count as "
            f"without data: {_named_paths(non_finite)}"
        )
    low, high = contract.value_range
    beyond = [path for path, facts in known if facts.beyond_px > BEYOND_SHARE * max(facts.valid_px, 1)]
    if beyond:
        yield (
            f"{_counted(beyond, 'image has', 'images have')} values beyond the declared range of {low:g} to {high:g}, "
            f"which are clipped: {_named_paths(beyond)}"
        )
    least = min((value for _, facts in known for value in facts.low if facts.valid_px), default=low)
    largest = max((value for _, facts in known for value in facts.high if facts.valid_px), default=high)
    if largest - least < USED_SHARE * (high - low):
        yield (
            f"values span {least:g} to {largest:g}, little of the declared range of {low:g} to {high:g}; declare what "
            "the imagery can hold with value_range"
        )


def _of_ground_sampling(examined: Sequence[ExaminedSample], contract: InputContract) -> Iterator[str]:
    known = [(one, one.facts.gsd_m) for one in examined if one.facts is not None and one.facts.gsd_m is not None]
    if contract.gsd_m is not None:
        finest, coarsest = contract.gsd_m
        other = [one.sample.image for one, gsd_m in known if not 0.95 * finest <= gsd_m <= 1.05 * coarsest]
        if other:
            yield (
                f"{_counted(other, 'image has', 'images have')} pixels outside of the declared {finest:g} to "
                f"{coarsest:g} m (gsd_m): {_named_paths(other)}"
            )
    train = [gsd_m for one, gsd_m in known if one.split == "train"]
    for split in SPLITS[1:]:
        judged = [gsd_m for one, gsd_m in known if one.split == split]
        if train and judged and max(max(judged) / max(train), min(train) / min(judged)) > GSD_FACTOR:
            yield (
                f"pixels of the {split} split are {min(judged):.3g} to {max(judged):.3g} m, and those of train "
                f"{min(train):.3g} to {max(train):.3g} m: too different to be judged fairly"
            )


def _of(examined: Sequence[ExaminedSample], split: str) -> list[ExaminedSample]:
    return [one for one in examined if one.split == split]


def _landslide_px(examined: Sequence[ExaminedSample]) -> int:
    return sum(one.facts.landslide_px for one in examined if one.facts is not None)


def _any_fault(examined: Sequence[ExaminedSample]) -> bool:
    return any(one.fault for one in examined)


def _counted(things: Sequence[object] | set[tuple[str, str]], one: str, several: str) -> str:
    return f"{len(things)} {one if len(things) == 1 else several}"


def _named_paths(paths: Sequence[Path]) -> str:
    return _named([path.name for path in paths])


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
