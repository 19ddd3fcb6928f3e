"""The data that a run knows again: each file that it learns from or is judged on, by size and SHA-256, not by name.

A resumed run compares contents in order: a folder may be renamed or moved, a pixel may not change. Digests are kept in
the run's folder for files whose size and time of change stay as they were.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from kda_edge.errors import DataError, one_line
from kda_edge.whole_files import write_whole

from ..data.data_file import DataSet
from ..data.sources import Sample

LOGGER: Final = logging.getLogger(__name__)
DIGESTS: Final = "data_digests.json"
SPLITS: Final = ("train", "val")  # nothing of a run depends on the test split
SLOW_BYTES: Final = 2_000_000_000  # some seconds of reading: said in a line
BLOCK_BYTES: Final = 1 << 20
READERS: Final = 8  # threads: hashing gives the interpreter free
NAMES: Final = ("name", "mask_name", "valid_name")  # for messages; they may change
# What else decides the crops of a sample; groups and names do not.
READ_AS: Final = ("layout", "bands", "mask_landslide", "mask_ignored", "draws")

Known: TypeAlias = dict[str, list[dict[str, Any]]]  # by split: the samples in order
Progress: TypeAlias = Callable[[str, int, int], None]


def known_data(data: DataSet, folder: Path, progress: Progress | None = None) -> tuple[Known, dict[str, Any]]:
    """Return what each sample is made of, and the digests to keep in the run's folder (`keep_digests`).

    Args:
        data: checked samples.
        folder: of the run; digests that it keeps are taken for files of the same size and time of change.
        progress: called with a label, files done and files in all.

    Raises:
        DataError: a file can't be read.
    """
    samples = {split: data.samples[split] for split in SPLITS}
    files = list(dict.fromkeys(path for found in samples.values() for sample in found for path in _files(sample)))
    kept = _kept(folder)
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        facts = dict(zip(files, pool.map(_facts, files), strict=True))
        fresh = [path for path in files if kept.get(str(path), [])[:2] != facts[path]]
        total_bytes = sum(facts[path][0] for path in fresh)
        if total_bytes > SLOW_BYTES:
            LOGGER.info("reading %d files (%.1f GB) once, to know them again", len(fresh), total_bytes / 1e9)
        for done, (path, digest) in enumerate(zip(fresh, pool.map(_digest, fresh), strict=True), start=1):
            kept[str(path)] = [*facts[path], digest]
            if progress is not None:
                progress("digests of the data", done, len(fresh))
    known = {split: [_plain(sample, kept) for sample in found] for split, found in samples.items()}
    return known, {str(path): kept[str(path)] for path in files}


def keep_digests(folder: Path, digests: Mapping[str, Any]) -> None:
    """Write digests into a run's folder; where it can't be, they are taken again."""
    with suppress(OSError):
        write_whole(folder / DIGESTS, json.dumps(digests).encode())


def first_difference(before: Known, now: Known) -> str:
    """Return where data differ, with the old and the new value; empty: they hold the same, in the same order."""
    for split in SPLITS:
        old, new = before.get(split, []), now.get(split, [])
        for one, other in zip(old, new, strict=False):
            if _content(one) != _content(other):
                return _said(split, one, other)
        if len(old) != len(new):
            return f"the {split} split had {len(old)} images and has {len(new)}"
    return ""


def _said(split: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    for kind in ("", "mask_", "valid_"):
        before, after = (one.get(f"{kind}sha256") for one in (old, new))
        if before != after:
            what = [
                f"{one[f'{kind}name']} ({one[f'{kind}bytes']} bytes, SHA-256 {one[f'{kind}sha256'][:8]})"
                if one.get(f"{kind}sha256")
                else "none"
                for one in (old, new)
            ]
            return f"in the {split} split, {kind.replace('_', ' ') or 'image '}{what[0]} is now {what[1]}"
    key = next(key for key in {**_content(old), **_content(new)} if old.get(key) != new.get(key))
    return f"in the {split} split, {new['name']} was read with {key} {old.get(key)} and now with {new.get(key)}"


def _content(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sample.items() if key not in NAMES}


def _plain(sample: Sample, digests: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {"window_ltrb": list(sample.window_ltrb)}
    source = dataclasses.asdict(sample.source)
    plain |= {name: list(source[name]) if isinstance(source[name], tuple) else source[name] for name in READ_AS}
    for kind, path in (("", sample.image), ("mask_", sample.mask), ("valid_", sample.valid)):
        if path is not None:
            size_bytes, _, digest = digests[str(path)]
            beside = [digests[str(one)][2] for one in _beside(path)]  # a mask of valid pixels that GDAL reads with it
            plain |= {f"{kind}name": path.name, f"{kind}bytes": size_bytes, f"{kind}sha256": digest}
            plain |= {f"{kind}beside": beside} if beside else {}
    return plain


def _files(sample: Sample) -> Iterable[Path]:
    for path in (sample.image, sample.mask, sample.valid):
        if path is not None:
            yield from (path, *_beside(path))


def _beside(path: Path) -> list[Path]:
    mask = path.with_name(f"{path.name}.msk")
    return [mask] if mask.is_file() else []


def _facts(path: Path) -> list[int]:
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path} can't be read ({one_line(error)}); bring it back where it was") from error
    return [state.st_size, state.st_mtime_ns]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path} can't be read ({one_line(error)}); copy it again from its source") from error
    return digest.hexdigest()


def _kept(folder: Path) -> dict[str, Any]:
    """Return the digests that a run's folder keeps; none where they can't be read."""
    try:
        content = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {path: one for path, one in content.items() if isinstance(one, list) and len(one) == 3}
