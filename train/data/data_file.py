"""Training data sets, read from a TOML file or a folder: found, split, and checked before training.

A data set is described by a TOML file, or is a folder in one of three layouts:

- `images/` and `masks/` (and, if there is one, `valid/`), paired by file name without ending;
- the same in each of `train/`, `val/` and `test/`, which are then the splits;
- the CAS layout: one folder a region, each with `img/` and `mask/`.

See docs/data.md for the TOML file.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from rasterio.windows import Window

from kda_edge.errors import DataError, ManifestError
from kda_edge.manifest import InputContract, from_plain
from kda_edge.paths import is_dir, is_file, resolved

from .image_files import read_facts, read_mask, require_declared, require_whole
from .pairing import ENDINGS, find_samples, split_folders, split_samples
from .sources import SPLITS, Sample, Source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

STRIP_PX: Final = 2048  # rows of a mask that are checked at a time

Scaling: TypeAlias = tuple[tuple[float, float], ...]  # scale and offset of each band that is learned from


@dataclass(frozen=True)
class DataSet:
    """All samples of a training run.

    Attributes:
        input: the declared pixels; mean and std are those of the network's normalisation.
        samples: by split.
        request: that they were found for; None: none.
    """

    input: InputContract
    samples: dict[str, tuple[Sample, ...]]
    request: DataRequest | None = field(default=None, compare=False)

    def licences(self) -> dict[str, str]:
        """Return the terms of the imagery that is learned from, by source; of sources that say none, none."""
        sources = {sample.source.name: sample.source.licence for sample in self.samples["train"]}
        return {name: licence for name, licence in sorted(sources.items()) if licence}

    def groups(self, split: str) -> list[str]:
        """Return the groups of a split as `source/group`, sorted."""
        return sorted({f"{sample.source.name}/{sample.group}" for sample in self.samples[split]})


@dataclass(frozen=True)
class DataRequest:
    """A request for imagery: where it lies, how it is split at random, and what a folder cannot say of itself.

    Attributes:
        path: a TOML file, or a folder in a known layout, split 8:1:1 at random unless by folders; for phase 1 any
            folder or image.
        seed: of random splits. Both phases must have the same, or phase 2 is judged on images that phase 1 saw.
        root: folder that the roots of a TOML file's sources are relative to; None: the file's own folder.
        input: the pixels of a folder or an image; None: 8-bit RGB, and of a TOML file what it declares itself.
        need_statistics: whether imagery other than 8-bit must come with its own mean and std.
    """

    path: Path
    seed: int
    root: Path | None = None
    input: InputContract | None = None
    need_statistics: bool = True


def load_data(request: DataRequest) -> DataSet:
    """Read a data file or folder, pair and split its images, and check every one of them.

    Sources without masks give no samples: they are for phase 1 (`kda_edge.train.data.unlabelled`).

    Raises:
        DataError: whatever does not fit; the file is named.
    """
    data = find_data(request)
    check_samples([sample for split in SPLITS for sample in data.samples[split]], data.input)
    return data


def find_data(request: DataRequest) -> DataSet:
    """Read a data file or folder, pair and split its images, as `load_data` does, and check none of them yet.

    Raises:
        DataError: whatever can't be found, paired or split.
    """
    contract, sources, base = declared_sources(request)
    require_statistics(contract, request)
    samples: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for source in sources:
        if not source.masks:
            continue
        for split, found in split_samples(source, find_samples(source, base / source.root), request.seed).items():
            samples[split].extend(found)
    return DataSet(contract, {split: tuple(found) for split, found in samples.items()}, request)


def declared_sources(request: DataRequest) -> tuple[InputContract, tuple[Source, ...], Path]:
    """Return the declared pixels, the sources, and the folder that their roots are relative to.

    Raises:
        DataError: neither a data file nor a folder in a known layout, or imagery that is declared twice.
    """
    path = resolved(request.path)
    if is_dir(path):
        source = source_from_folder(path)
        if source is None:
            raise DataError(
                f"{path} has neither images/ and masks/ nor regions with img/ and mask/, and no train/, val/ and test/ "
                "with images/ and masks/; describe it in a TOML file"
            )
        return request.input or InputContract(), (source,), path.parent
    if request.input is not None:
        raise DataError(
            f"{path} declares its imagery itself under [input]; leave --pixel-type, --value-range and --gsd out"
        )
    contract, sources = _parse(path)
    return contract, sources, request.root or path.parent


def require_statistics(contract: InputContract, request: DataRequest) -> None:
    """Raise `DataError` where imagery other than 8-bit comes without its own mean and std, and they are needed."""
    if request.need_statistics and contract.pixel_type != "uint8" and contract.mean == InputContract().mean:
        raise DataError(
            f"imagery of type {contract.pixel_type} needs its own mean and std; "
            f"measure them with: kda-train statistics --data {shlex.quote(str(resolved(request.path)))}"
        )


def check_samples(samples: Sequence[Sample], contract: InputContract) -> None:
    """Raise `DataError` unless each sample is as declared, and the numbers stored mean the same in all of them."""
    require_one_scaling((sample.image, check_sample(sample, contract)) for sample in samples)


def require_one_scaling(images: Iterable[tuple[Path, Scaling]]) -> None:
    """Raise `DataError` at the first image whose scale and offset are others than those of the first of all."""
    first: tuple[Path, Scaling] | None = None
    for image, scaling in images:
        first = first or (image, scaling)
        if scaling != first[1]:
            raise DataError(
                f"{first[0]} declares scale and offset {_in_words(first[1])}, {image} {_in_words(scaling)}; the "
                "numbers stored are learned from, so write all images with: gdal_translate -unscale -ot Float32"
            )


def check_sample(sample: Sample, contract: InputContract) -> Scaling:
    """Return scale and offset of a sample's bands.

    Raises:
        DataError: image, mask and valid mask do not agree with each other or with the declaration, or one is not whole.
    """
    facts = read_facts(sample.image)
    require_declared(facts, sample.image, contract, sample.source.bands)
    require_whole(sample.image, sample.source.bands)
    for other in (sample.mask, sample.valid):
        if other is None:
            continue
        size = read_facts(other)
        if (size.height_px, size.width_px) != (facts.height_px, facts.width_px):
            raise DataError(
                f"{sample.image} is {facts.width_px} x {facts.height_px} px and {other} is "
                f"{size.width_px} x {size.height_px} px; they must be equal"
            )
    if sample.valid is not None:
        require_whole(sample.valid)
    if sample.mask is not None:
        for row in range(0, facts.height_px, STRIP_PX):
            strip = Window(0, row, facts.width_px, min(STRIP_PX, facts.height_px - row))
            read_mask(sample.mask, sample.source.mask_rule, strip)
    return tuple(facts.scaling[band - 1] for band in sample.source.bands)


def _in_words(scaling: Scaling) -> str:
    return " and ".join(dict.fromkeys(f"{scale:g}, {offset:g}" for scale, offset in scaling))


def source_from_folder(path: Path) -> Source | None:
    """Return the source that a folder with images and masks is, or None where it has none of the three layouts."""
    if is_dir(path / "images") and is_dir(path / "masks"):
        return Source(path.name, path.name, valid="valid" if is_dir(path / "valid") else "")
    if split_folders(path):
        return Source(path.name, path.name, layout="splits")
    if any(is_dir(region / "img") and is_dir(region / "mask") for region in path.iterdir() if is_dir(region)):
        return Source(path.name, path.name, layout="cas", mask_landslide=())
    return None


def _parse(path: Path) -> tuple[InputContract, tuple[Source, ...]]:
    if not is_file(path):
        raise DataError(f"there is no data file or folder {path}")
    if path.suffix.lower() in ENDINGS:
        raise DataError(
            f"{path} is an image; labelled data is a folder with images/ and masks/, or a TOML file that describes it"
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not TOML: {error}") from error
    unknown = sorted(set(content) - {"input", "source"})
    if unknown or not content.get("source"):
        raise DataError(
            f"{path} must hold [input] and [[source]] tables" + (f", not {unknown[0]!r}" if unknown else "")
        )
    try:
        contract = from_plain(InputContract, content.get("input", {}), where="input")
        sources = tuple(
            from_plain(Source, plain, where=f"source {i}") for i, plain in enumerate(content["source"], start=1)
        )
    except ManifestError as error:
        raise DataError(f"{path}: {error}") from error
    names = [source.name for source in sources]
    if len(set(names)) != len(names):
        raise DataError(f"{path}: two sources have the same name")
    return contract, sources
