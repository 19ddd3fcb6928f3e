"""Atomic writing of files: each is whole under its name or not there, whatever happens to the process that writes it.

A file is made under a hidden name beside its own, flushed to the disk and then renamed; what was under the name before
stays until that moment, and for good after an error. A killed process leaves its hidden file, which nobody reads.

What is kept between runs is read back by `own_bytes`, which nobody else can have changed.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PART: Final = ".part"  # ends the hidden names that files are written under
# What a system answers that does not flush the names in a folder, or lets nobody but the owner open it.
_NO_FLUSH_OF_FOLDERS: Final = (errno.EACCES, errno.EISDIR, errno.EBADF, errno.EINVAL)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole; others may read it, nobody but its owner may change it.

    Raises:
        OSError: the folder is missing, not writable or full, or the name is no file's; it names `path`.
    """
    with staged(path) as hidden:
        hidden.write_bytes(content)


def write_first(path: Path, content: bytes) -> None:
    """Write a file whole unless one of that name is there already: of several writers, the first one wins.

    Raises:
        OSError: as in `write_whole`, or the file system has no hard links.
    """
    with _hidden_file(path) as hidden:
        hidden.write_bytes(content)
        flush(hidden)
        with suppress(FileExistsError):
            path.hardlink_to(hidden)  # unlike a rename, it leaves alone what is there
        flush(path.parent)


def own_bytes(path: Path) -> bytes:
    """Read a file that nobody but this user or root may write, which is looked at as it is read.

    Raises:
        PermissionError: others may write it.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        if facts.st_uid not in (0, os.getuid()) or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(0, f"others than you may write {path.name}")
        return file.read()


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield an empty hidden file to write to; it takes the name `path` if the block ends well and is removed if not.

    Raises:
        OSError: as in `write_whole`.
    """
    with _hidden_file(path) as hidden:
        yield hidden
        publish({path: hidden})


def publish(hidden: Mapping[Path, Path]) -> None:
    """Flush hidden files and give them their names, in order.

    Args:
        hidden: where each file lies, by its name; all in one folder.

    Raises:
        OSError: a file can't be flushed, or a name can't be taken.
    """
    for file in hidden.values():
        flush(file)
    for name, file in hidden.items():
        file.replace(name)
    for folder in {name.parent for name in hidden}:
        flush(folder)


def flush(path: Path) -> None:
    """Have the system write out a file, or a folder's names: a full disk shows now, a power cut changes nothing.

    Raises:
        OSError: it can't; of a folder only where the disk fails, as some systems flush none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH_OF_FOLDERS or not path.is_dir():
            raise


def try_folder(folder: Path) -> None:
    """Write a block to a nameless file in a folder, or where the folder would be made, and leave nothing behind.

    Raises:
        OSError: the folder can't be written to, or is full; or what would hold it is a file.
        ValueError: the name can't be a path.
    """
    place = folder
    while not _is_there(place):
        place = place.parent
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())


def _is_there(place: Path) -> bool:
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def free_bytes_at(folder: Path) -> float:
    """Return the free space of a folder's file system, bytes; infinite where the system does not say."""
    try:
        state = os.statvfs(folder)
    except OSError:
        return math.inf
    return state.f_bavail * state.f_frsize if state.f_blocks else math.inf


@contextmanager
def _hidden_file(path: Path) -> Iterator[Path]:
    """Yield a new hidden file beside `path`, of this call alone; it is removed where nothing has renamed it."""
    hidden = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}"
    try:
        _require_replaceable(path)
        # Not tempfile: its files are for their owner alone, and other people read ours.
        os.close(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        yield hidden
    except OSError as error:
        if error.errno is None or str(error.filename or hidden) != str(hidden):
            raise  # one of ours, or about another file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            hidden.unlink()


def _require_replaceable(path: Path) -> None:
    """Refuse what a rename would take the place of in silence, such as /dev/null, or only after all the work."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is a device or pipe and no file", str(path))
