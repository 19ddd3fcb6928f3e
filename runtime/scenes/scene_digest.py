"""What a scene holds, as one digest: so that rows of two different scenes never meet in one map."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import SceneError
from kda_edge.rasters.valid_pixels import NODATA_TUPLE

from ..geo.gdal import GDAL_ERRORS, one_line, open_raster

CHUNK_BYTES: Final = 2**22  # read and digested at a time
PAM: Final = ".aux.xml"  # written by viewers too, with statistics: what it says of the scene counts, not its bytes


@dataclass(frozen=True)
class SceneContent:
    """What a scene held when it was looked at.

    Attributes:
        path: of the scene.
        sha256: of all that its pixels and its place come from, in hexadecimal; None where some of it is no local file.
        stamps: size and time of change of each of its files.
    """

    path: Path
    sha256: str | None
    stamps: dict[Path, tuple[int, int]]

    def require_unchanged(self) -> None:
        """Make sure that no file of the scene was replaced, changed or taken away since.

        Raises:
            SceneError: one was; the file is named.
        """
        for path, stamp in self.stamps.items():
            if _stamp(path) != stamp:
                raise SceneError(f"{path} was changed while the scene was mapped; let no other program write it")


@contextmanager
def digesting(path: Path) -> Iterator[Callable[[], SceneContent]]:
    """Digest a scene in a thread while the block runs; what it yields waits for the digest and returns it.

    The digest covers every byte of every file that GDAL names (sources of a VRT to any depth, masks, overviews, world
    files) and the size, bands, types, nodata and place of each raster among them. Names do not count.

    Raises:
        SceneError: a file can't be read; of what lies in it, when the digest is asked for.
    """
    facts: list[str] = []
    files: dict[str, None] = {}  # a set that keeps the order
    try:
        _collect(str(path), facts, files)
    except GDAL_ERRORS as error:
        raise SceneError(f"{path} can't be read ({one_line(error)}); copy it again from its source") from error
    local = [Path(name) for name in files if Path(name).exists()]
    stamps = {file: _stamp(file) for file in local}  # before the first byte is read
    stopped = threading.Event()
    with ThreadPoolExecutor(1, "scene-digest") as threads:
        digest = threads.submit(_digest, facts, [file for file in local if not file.name.endswith(PAM)], stopped)
        try:
            yield lambda: SceneContent(path, digest.result() if len(local) == len(files) else None, stamps)
        finally:
            stopped.set()


def _digest(facts: list[str], files: list[Path], stopped: threading.Event) -> str:
    digest = hashlib.sha256("\n".join(facts).encode())
    for file in files:
        digest.update(_file_digest(file, stopped))
    return digest.hexdigest()


def _collect(name: str, facts: list[str], files: dict[str, None]) -> None:
    """Add what GDAL says of a raster, and its files; for a VRT also those of the rasters that it is made of."""
    with open_raster(Path(name)) as dataset:
        facts.append(repr(_facts(dataset)))
        driver, named = dataset.driver, list(dataset.files)
    files[name] = None
    for other in named:
        if other in files:
            continue
        files[other] = None
        if driver == "VRT" and Path(other).exists():
            try:
                _collect(other, facts, files)
            except GDAL_ERRORS:
                continue  # no raster: its bytes count


def _facts(dataset: Any) -> tuple[object, ...]:
    points, points_crs = dataset.gcps
    return (
        dataset.driver,
        dataset.shape,
        dataset.dtypes,
        [repr(value) for value in dataset.nodatavals],
        dataset.tags().get(NODATA_TUPLE),
        [[flag.name for flag in flags] for flags in dataset.mask_flag_enums],
        [color.name for color in dataset.colorinterp],
        dataset.descriptions,
        None if dataset.crs is None else dataset.crs.to_wkt(),
        tuple(dataset.transform),
        [(point.row, point.col, point.x, point.y, point.z) for point in points],
        None if points_crs is None else points_crs.to_wkt(),
    )


def _file_digest(file: Path, stopped: threading.Event) -> bytes:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES))
    try:
        with file.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                digest.update(buffer[:count])
                if stopped.is_set():  # nobody will ask
                    break
    except OSError as error:
        raise SceneError(f"{file} can't be read ({error.strerror or error}); copy the scene again") from error
    return digest.digest()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise SceneError(
            f"{path} can't be found any more ({error.strerror or error}); bring it back where it was"
        ) from error
    return state.st_size, state.st_mtime_ns
