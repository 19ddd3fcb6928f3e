"""Compressing the files of a kit: wheels without their deflate, and folders of imagery as a tar, by xz."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any, Final

from kda_edge.errors import KitError
from kda_edge.whole_files import staged

from .wheel import Wheel, write_stored

PACKING_VERSION: Final = 1  # of what this module makes; packed files of another are not used again
PRESET: Final = 6  # 9 | EXTREME made ONNX Runtime's CUDA library 0.06 % smaller in half as much time again
LEAST_WINDOW_BYTES: Final = 1 << 20
MOST_WINDOW_BYTES: Final = 1 << 26  # packing takes eleven times as much memory, unpacking as much
CHUNK_BYTES: Final = 1 << 22


def packed_wheel(wheel: Wheel, cache: Path) -> Path:
    """Return a wheel, stored and compressed; from the cache where one with the same files was packed before.

    The same are those with the same RECORD, which tells the digest of each file: a wheel that is built anew differs
    in its dates alone.

    Raises:
        KitError: the wheel is damaged.
        OSError: the cache can't be written.
    """
    packed = cache / f"{wheel.record_sha256[:16]}-v{PACKING_VERSION}-{wheel.path.name}.xz"
    if not packed.is_file():
        with tempfile.TemporaryFile(dir=cache) as stored:
            write_stored(wheel.path, stored)
            with staged(packed) as hidden:
                _compress(stored, hidden, lzma.FILTER_X86)
    return packed


def packed_folder(folder: Path, cache: Path) -> Path:
    """Return all files below a folder as a compressed tar, the same bytes for the same files.

    Raises:
        KitError: the folder is empty, or holds something else than files and folders.
        OSError: a file can't be read, or the cache not be written.
    """
    packed = cache / "imagery.tar.xz"
    with tempfile.TemporaryFile(dir=cache) as stored:
        with tarfile.TarFile(fileobj=stored, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in files_below(folder):
                info = tarfile.TarInfo(path.relative_to(folder).as_posix())
                info.size, info.mode = path.stat().st_size, 0o644
                with path.open("rb") as file:
                    archive.addfile(info, file)
        with staged(packed) as hidden:
            _compress(stored, hidden, None)
    return packed


def files_below(folder: Path) -> list[Path]:
    """Return the files of a folder of imagery, sorted.

    Raises:
        KitError: there are none, or a link, pipe or device is among them.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(place) / name for name in sorted([*names, *folders])):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise KitError(f"{path} is a link or no file; imagery for a kit is files in folders")
            if path.is_file():
                found.append(path)
    if not found:
        raise KitError(f"there is no file in {folder}; give the folder of the imagery, or none")
    return found


def _compress(plain: IO[bytes], into: Path, machine_code: int | None) -> None:
    """Compress a file by LZMA2 with a window of the whole file or the largest; jumps of x86 code are made absolute."""
    size = plain.seek(0, os.SEEK_END)
    plain.seek(0)
    window = min(max(size, LEAST_WINDOW_BYTES), MOST_WINDOW_BYTES)
    filters: list[dict[str, Any]] = [{"id": machine_code}] if machine_code is not None else []
    filters.append({"id": lzma.FILTER_LZMA2, "preset": PRESET, "dict_size": window})
    with lzma.LZMAFile(into, "w", format=lzma.FORMAT_XZ, check=lzma.CHECK_SHA256, filters=filters) as packed:
        shutil.copyfileobj(plain, packed, CHUNK_BYTES)
