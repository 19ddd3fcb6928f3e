"""A feature cache: the teacher's maps on disk, computed once, then read through a memory map in every later epoch.

A folder of the cache holds `teacher_features/` with

- `header.json`: format, teacher, shapes, slots and data type; whatever differs is refused;
- `features.f16`: a row of float16 a slot, little-endian, its maps in a line; sparse: it grows as it fills;
- `seals.bin`: 16 bytes a slot, all zero where it is empty.

A seal is a digest over the crop's pixels **and** the features beside it, written after them. So a slot cannot lie: one
that a killed run, a power cut, a damaged disk or another machine's stale view left half-written counts as empty.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kda_edge.errors import TrainingError, one_line
from kda_edge.paths import exists, resolved
from kda_edge.whole_files import free_bytes_at, write_whole

FORMAT: Final = 1
DIGEST_BYTES: Final = 16
EMPTY: Final = bytes(DIGEST_BYTES)
LARGEST: Final = 65504.0  # that float16 holds
PLACE: Final = "teacher_features"  # below the folder, which may be a mount point and so cannot be renamed itself
HEADER: Final = "header.json"
FEATURES: Final = "features.f16"
SEALS: Final = "seals.bin"


def pixels_digest(image: Tensor) -> bytes:
    """Return 16 bytes that stand for exactly these pixels.

    BLAKE2b runs at about 0.7 GB/s a core: 0.9 ms for a crop of 224 px, 5 ms for 512 px. It releases Python's lock.

    Args:
        image: one crop, (3, S, S) float32.
    """
    pixels = image.detach().cpu().contiguous().numpy().reshape(-1)
    return hashlib.blake2b(pixels.data, digest_size=DIGEST_BYTES).digest()


class FeatureCache:
    """Feature maps of one teacher, by slot, valid for exactly the pixels that they were computed from.

    Several processes may use one cache at the same time, each writing slots of its own; two that write one slot leave
    it right or empty.

    Args:
        folder: made if missing; on a disk that holds the whole cache.
        teacher: digest of what decides the features besides the pixels: name, weights, layers, input size.
        shapes: (C, h, w) of each feature map.
        slots: crops that are kept: items times views.

    Raises:
        TrainingError: the folder holds another cache or a damaged one, or the disk is too small.
    """

    def __init__(self, folder: Path, *, teacher: str, shapes: Sequence[tuple[int, int, int]], slots: int) -> None:
        assert slots > 0
        assert shapes
        self.shapes, self.slots = tuple(shapes), slots
        self._lengths = [math.prod(shape) for shape in shapes]
        self._row_bytes = 2 * sum(self._lengths)
        self._place = resolved(folder) / PLACE
        sizes = {FEATURES: slots * self._row_bytes, SEALS: slots * DIGEST_BYTES}
        header = {
            "format": FORMAT,
            "teacher": teacher,
            "shapes": [list(shape) for shape in shapes],
            "slots": slots,
            "dtype": "float16",
        }
        if not exists(self._place):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._require_space(sum(sizes.values()))
            _create(self._place, header, sizes)
        self._require_own(header, sizes)
        # Read through maps, written as files: a full disk is then an error and not a signal that ends the process.
        self._features = np.memmap(self._place / FEATURES, "<f2", "r", shape=(slots, sum(self._lengths)))
        self._seals = np.memmap(self._place / SEALS, np.uint8, "r", shape=(slots, DIGEST_BYTES))
        self._require_space(int((~self._seals.any(axis=1)).sum()) * self._row_bytes)

    def get(self, slots: Sequence[int], digests: Sequence[bytes]) -> list[Tensor] | None:
        """Return the maps of a batch, (B, C, h, w) float32 each, or None unless every slot holds these very pixels'.

        Args:
            slots: of the batch.
            digests: `pixels_digest` of each crop.
        """
        rows = np.empty((len(slots), sum(self._lengths)), "<f2")
        for row, slot, digest in zip(rows, slots, digests, strict=True):
            assert 0 <= slot < self.slots
            seal = self._seals[slot].tobytes()
            if seal == EMPTY:
                return None
            row[:] = self._features[slot]  # what is checked is the copy, which nobody else can change
            if seal != _seal(row, digest):
                return None
        parts = np.split(rows.astype(np.float32), np.cumsum(self._lengths)[:-1], axis=1)
        return [torch.from_numpy(part.reshape(-1, *shape)) for part, shape in zip(parts, self.shapes, strict=True)]

    def put(self, slots: Sequence[int], digests: Sequence[bytes], maps: Sequence[Tensor]) -> None:
        """Keep the maps of a batch, rounded to float16, whatever the slots held before.

        Args:
            slots: of the batch.
            digests: `pixels_digest` of each crop.
            maps: (B, C, h, w) each, any floating-point type, on any device.

        Raises:
            TrainingError: maps of another shape, features that float16 cannot hold, or a disk that takes no more.
        """
        rows = self._rows_from_maps(maps, len(slots))
        seals = [_seal(row, digest) for row, digest in zip(rows, digests, strict=True)]
        assert all(0 <= slot < self.slots for slot in slots)
        try:
            self._write(FEATURES, slots, [row.tobytes() for row in rows])
            self._write(SEALS, slots, seals)
        except OSError as error:
            raise TrainingError(
                f"the feature cache in {self._place} can't be written ({one_line(error)}); "
                "free some space, or train without it"
            ) from error

    def _write(self, name: str, slots: Sequence[int], records: Sequence[bytes]) -> None:
        with (self._place / name).open("r+b") as file:
            for slot, record in zip(slots, records, strict=True):
                file.seek(slot * len(record))
                file.write(record)

    def _rows_from_maps(self, maps: Sequence[Tensor], batch: int) -> NDArray[np.float16]:
        expected = [(batch, *shape) for shape in self.shapes]
        given = [tuple(each.shape) for each in maps]
        if given != expected:
            raise TrainingError(
                f"the teacher gives maps of {given} and the feature cache in {self._place} is for {expected}; "
                "the side of the crops must be the same throughout: keep it, or train without the cache"
            )
        flat = torch.cat([each.detach().cpu().float().flatten(1) for each in maps], dim=1)
        largest = float(flat.abs().max())
        if not largest <= LARGEST:  # not a number is not either
            raise TrainingError(
                f"the teacher's features reach {largest:g} and the feature cache holds up to {LARGEST:g}; "
                "train without it"
            )
        return flat.numpy().astype("<f2")

    def _require_space(self, needed_bytes: int) -> None:
        free_bytes = free_bytes_at(self._place.parent)
        if free_bytes < needed_bytes:
            raise TrainingError(
                f"the feature cache needs {needed_bytes / 1e9:.1f} GB and {self._place.parent} has "
                f"{free_bytes / 1e9:.1f} GB free; choose a folder on another disk, or train without the cache"
            )

    def _require_own(self, header: dict[str, Any], sizes: dict[str, int]) -> None:
        remedy = f"choose another folder for the cache, or delete {self._place}"
        try:
            found = json.loads((self._place / HEADER).read_text(encoding="utf-8"))
            found_sizes = {name: (self._place / name).stat().st_size for name in sizes}
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise TrainingError(f"the feature cache in {self._place} is damaged ({error}); {remedy}") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise TrainingError(f"the feature cache in {self._place} is of another version of kda-edge; {remedy}")
        for key, value in header.items():
            if found.get(key) != value:
                raise TrainingError(
                    f"the feature cache in {self._place} was made for {key} {found.get(key)!r:.80} "
                    f"and not {value!r:.80}; {remedy}"
                )
        for name, size in sizes.items():
            if found_sizes[name] != size:
                raise TrainingError(
                    f"the feature cache in {self._place} is damaged "
                    f"({name} has {found_sizes[name]} bytes instead of {size}); {remedy}"
                )


def kept_teacher(folder: Path) -> str | None:
    """Return the teacher whose features a folder keeps; None: there is no cache, or its header can't be read."""
    try:
        header = json.loads((resolved(folder) / PLACE / HEADER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(header.get("teacher")) if isinstance(header, dict) else None


def _create(place: Path, header: dict[str, Any], sizes: dict[str, int]) -> None:
    """Make an empty cache, complete from the moment that it appears; where another process was first, its stays."""
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir()
        for name, size in sizes.items():
            with (temporary / name).open("wb") as file:
                file.truncate(size)
        write_whole(temporary / HEADER, (json.dumps(header, indent=1) + "\n").encode())
        temporary.rename(place)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _seal(row: NDArray[np.float16], digest: bytes) -> bytes:
    assert len(digest) == DIGEST_BYTES
    return hashlib.blake2b(row.data, key=digest, digest_size=DIGEST_BYTES).digest()
