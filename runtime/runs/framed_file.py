"""An append-only file of whole frames: what a power cut tore off its end is seen, and cut."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from kda_edge.errors import OutputError, one_line
from kda_edge.opening_process import closed_in_forks
from kda_edge.paths import exists
from kda_edge.whole_files import free_bytes_at

MAGIC: Final = b"kda-edge journal 2\n"
_FRAME: Final = struct.Struct("<QI")  # length of the payload, CRC-32 of the frame before and this payload
FIRST_AT_MOST: Final = 2**20  # bytes of the first frame: a larger length is damage, not a torn end

flush_data = getattr(os, "fdatasync", os.fsync)  # macOS has the latter only


class DamagedFile(Exception):
    """The file's beginning is not what was written there."""


class FramedFile:
    """An open file of frames: the mark, then each payload behind its length and a CRC-32 that runs through the file.

    So a frame counts only behind an unbroken row of frames. Each append is on the disk before it returns.
    """

    def __init__(self, path: Path, file: BinaryIO, free_bytes: Callable[[Path], float] = free_bytes_at) -> None:
        """Take an open, unbuffered file; `load` finds what it holds.

        Args:
            path: of the file.
            file: open to read, and to write where `append` is used.
            free_bytes: asked before each append what a folder still holds.
        """
        self._path, self._file, self._free_bytes = path, file, free_bytes
        self._end, self._crc = 0, 0

    def frames(self) -> Iterator[bytes]:
        """Yield the payloads from the first on, up to the first frame that is not whole; then appends go behind it.

        Raises:
            DamagedFile: the mark or the first frame is not what `append` writes; a torn one only ends the file.
            OSError: the disk can't be read.
        """
        self._end, self._crc = 0, 0
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(0)
        mark = self._file.read(len(MAGIC))
        if mark != MAGIC:
            if MAGIC.startswith(mark):
                return
            raise DamagedFile
        self._end = len(MAGIC)
        while True:
            self._file.seek(self._end)
            head = self._file.read(_FRAME.size)
            if len(head) < _FRAME.size:
                return
            length, crc = _FRAME.unpack(head)
            first = self._end == len(MAGIC)
            if first and not 0 < length <= FIRST_AT_MOST:
                raise DamagedFile
            if not 0 < length <= size - self._end - _FRAME.size:
                return
            payload = self._file.read(length)
            if len(payload) != length or zlib.crc32(payload, self._crc) != crc:
                if first:
                    raise DamagedFile
                return
            self._end += _FRAME.size + length
            self._crc = crc
            yield payload

    @property
    def whole(self) -> bool:
        """Whether nothing lies behind the last whole frame that `frames` has found."""
        return os.fstat(self._file.fileno()).st_size == self._end

    def clear(self) -> None:
        """Have the next append begin the file anew."""
        self._end, self._crc = 0, 0

    def append(self, payload: bytes) -> None:
        """Write a frame behind the last whole one, what lies there cut, and have it on the disk.

        Raises:
            OutputError: it can't be written; the frames before it are as they were.
        """
        crc = zlib.crc32(payload, self._crc)
        frame = (b"" if self._end else MAGIC) + _FRAME.pack(len(payload), crc) + payload
        free_bytes = self._free_bytes(self._path.parent)
        if free_bytes < len(frame):
            raise self._not_written(f"{free_bytes / 1e6:.1f} MB are left and {len(frame) / 1e6:.1f} MB are needed")
        try:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            rest = memoryview(frame)
            while rest:
                rest = rest[self._file.write(rest) :]
            flush_data(self._file.fileno())
        except OSError as error:
            raise self._not_written(one_line(error)) from error
        self._end += len(frame)
        self._crc = crc

    def _not_written(self, reason: str) -> OutputError:
        return OutputError(
            f"the record of finished rows can't be written to {self._path.parent} ({reason}); "
            "free some space there or choose another folder with -o"
        )


@contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """Open a file, created if missing, to read and write, for this run alone; the lock ends with the block.

    Raises:
        OutputError: another run holds it, or it can't be opened or locked.
    """
    while True:
        try:
            file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b", buffering=0)  # noqa: PTH123, SIM115 -- an open descriptor has no path; closed below
        except OSError as error:
            remedy = "choose another folder with -o"
            if exists(path):
                raise OutputError(f"{path} can't be opened ({one_line(error)}); remove it or {remedy}") from error
            raise OutputError(f"{path.parent} can't be written to ({one_line(error)}); {remedy}") from error
        with file, closed_in_forks(file.close):
            _lock(path, file)
            if not _is_under(path, file):  # its owner has removed it between our opening and locking it
                continue
            yield file
            return


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep runs away that would lock a file, and leave what is in it as it is.

    Raises:
        OutputError: another run holds it, or it can't be opened or locked.
    """
    with locked(path) as file:
        try:
            yield
        finally:
            if not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)


def _lock(path: Path, file: BinaryIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise OutputError(
                f"another run is at work on {path.name.lstrip('.')} in {path.parent}; "
                "wait for it or choose another folder with -o"
            ) from error
        raise OutputError(
            f"{path.parent} does not let a run lock its files ({one_line(error)}), so two runs could mix; "
            "choose another folder with -o"
        ) from error


def _is_under(path: Path, file: BinaryIO) -> bool:
    try:
        there, here = path.stat(), os.fstat(file.fileno())
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
