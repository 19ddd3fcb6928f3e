"""The data report: what imagery goes into a run, counted by split and group, with its errors and warnings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kda_edge.errors import DataError

from ..data.data_file import DataRequest, DataSet, declared_sources, find_data
from ..data.pairing import orphan_masks
from ..data.sources import SPLITS
from .examined_samples import PHASE_1, ExaminedSample, examine_samples
from .findings import RunPlan, errors_in, warnings_in
from .kept_facts import KeptFacts
from .sample_facts import SampleFacts
from .shared_ground import SharedGround, shared_ground


@dataclass(frozen=True)
class PartReport:
    """A split of a source, or a group of it.

    Attributes:
        split: train, val or test.
        name: of the source, or `source/group`.
        images: that were decoded.
        with_landslide: images that show any.
        judged_px: pixels that are learned from, or judged.
        landslide_share: of the judged pixels, 0 to 1; 0 where there are none.
        gsd_m: finest and coarsest ground sampling distance that the files tell, metres; None: none does.
    """

    split: str
    name: str
    images: int
    with_landslide: int
    judged_px: int
    landslide_share: float
    gsd_m: tuple[float, float] | None


@dataclass(frozen=True)
class PixelReport:
    """The pixels of a source.

    Attributes:
        source: its name.
        images: that were decoded.
        sizes: images by width and height, `512 x 512`.
        pixel_types: images by data type.
        bands: images by the number of bands.
        low: least value of each chosen band; None where no pixel holds data.
        high: largest value, likewise.
        nodata_share: of all pixels, 0 to 1.
        non_finite_px: pixels that are NaN or infinite in a chosen band.
        beyond_px: pixels that leave the declared range.
    """

    source: str
    images: int
    sizes: dict[str, int]
    pixel_types: dict[str, int]
    bands: dict[str, int]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    nodata_share: float
    non_finite_px: int
    beyond_px: int


@dataclass(frozen=True)
class DataReport:
    """What a run would learn from, and be judged on.

    Attributes:
        pixel_type: declared.
        value_range: declared.
        parts: of each split its sources, then their groups where they hold several images.
        pixels: by source.
        shared_ground: pairs of images of different splits, the worst first.
        orphan_masks: masks without an image.
        errors: for which no run is begun, a line each.
        warnings: a line each.
    """

    pixel_type: str
    value_range: tuple[float, float]
    parts: tuple[PartReport, ...]
    pixels: tuple[PixelReport, ...]
    shared_ground: tuple[SharedGround, ...]
    orphan_masks: tuple[str, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def require_learnable(self) -> None:
        """Raise `DataError` with the first error, and how many there are."""
        if self.errors:
            more = f" (and {len(self.errors) - 1} more: kda-train check lists them)" if len(self.errors) > 1 else ""
            raise DataError(self.errors[0] + more)


def data_report(
    request: DataRequest,
    *,
    plan: RunPlan | None = None,
    images: DataSet | None = None,
    root: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[DataReport, DataSet]:
    """Decode every image and mask of a request, and return what there is, with the samples.

    Args:
        request: as `load_data` takes it.
        plan: of the run that it is for; None: of none.
        images: what phase 1 looks at; those that are not in the request are decoded as well.
        root: of the cache; None is the user's.
        progress: called with a label, images done and in all.

    Raises:
        DataError: images that can't be found, paired or split; what is wrong with one image is among the errors.
    """
    data, kept = find_data(request), KeptFacts(root)
    samples = [(split, sample) for split in SPLITS for sample in data.samples[split]]
    examined = examine_samples(samples, data.input, kept=kept, progress=progress)
    everything = list(examined)
    if images is not None:
        known = {sample.image for _, sample in samples}
        others = [(PHASE_1, sample) for sample in images.samples["train"] if sample.image not in known]
        everything += examine_samples(others, images.input, kept=kept, progress=progress)
    _, sources, base = declared_sources(request)
    orphans = tuple(
        str(mask) for source in sources if source.masks for mask in orphan_masks(source, base / source.root)
    )
    shared = tuple(shared_ground(everything))
    report = DataReport(
        data.input.pixel_type,
        data.input.value_range,
        tuple(_parts(examined)),
        tuple(_pixels(examined)),
        shared,
        orphans,
        tuple(errors_in(everything)),
        tuple(warnings_in(examined, data.input, shared, orphans, plan)),
    )
    return report, data


def _parts(examined: Sequence[ExaminedSample]) -> Iterable[PartReport]:
    for split in SPLITS:
        here = [one for one in examined if one.split == split]
        for source in dict.fromkeys(one.sample.source.name for one in here):
            of_source = [one for one in here if one.sample.source.name == source]
            yield _part(split, source, of_source)
            groups = Counter(one.sample.group for one in of_source)
            # Without groups each image is its own, and with one group the row would be there twice.
            if 1 < len(groups) < len(of_source):
                for group in sorted(groups):
                    yield _part(split, f"{source}/{group}", [one for one in of_source if one.sample.group == group])


def _part(split: str, name: str, examined: Sequence[ExaminedSample]) -> PartReport:
    facts = _facts(examined)
    landslide_px = sum(one.landslide_px for one in facts)
    judged_px = landslide_px + sum(one.background_px for one in facts)
    known_m = [one.gsd_m for one in facts if one.gsd_m is not None]
    return PartReport(
        split,
        name,
        len(facts),
        sum(one.landslide_px > 0 for one in facts),
        judged_px,
        landslide_px / judged_px if judged_px else 0.0,
        (min(known_m), max(known_m)) if known_m else None,
    )


def _pixels(examined: Sequence[ExaminedSample]) -> Iterable[PixelReport]:
    for source in dict.fromkeys(one.sample.source.name for one in examined):
        facts = _facts([one for one in examined if one.sample.source.name == source])
        if not facts:
            continue
        total_px = sum(one.height_px * one.width_px for one in facts)
        yield PixelReport(
            source,
            len(facts),
            _counted(f"{one.width_px} x {one.height_px}" for one in facts),
            _counted(one.pixel_type for one in facts),
            _counted(str(one.bands) for one in facts),
            tuple(min(known, default=None) for known in _known(one.low for one in facts)),
            tuple(max(known, default=None) for known in _known(one.high for one in facts)),
            1 - sum(one.valid_px for one in facts) / total_px,
            sum(one.non_finite_px for one in facts),
            sum(one.beyond_px for one in facts),
        )


def _facts(examined: Sequence[ExaminedSample]) -> list[SampleFacts]:
    return [one.facts for one in examined if one.facts is not None]


def _known(values: Iterable[tuple[float, ...]]) -> list[list[float]]:
    """Return the values of each band without those that are not known."""
    return [[value for value in band if not math.isnan(value)] for band in zip(*values, strict=True)]


def _counted(names: Iterable[str]) -> dict[str, int]:
    """Return how often each name occurs, the most frequent first."""
    return dict(Counter(names).most_common())
