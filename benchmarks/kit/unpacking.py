"""A packed file made whole again and installed: a wheel into the folder `site`, imagery into the folder `data`.

Nothing but the standard library. What stops an installation leaves no harm: a wheel counts as installed once its list
of files, its RECORD, is there, which comes last, and all that the list tells has its digest.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import lzma
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from kda_edge.errors import KitError, one_line
from kda_edge.whole_files import write_whole

SITE: Final = "site"
IMAGERY: Final = "data"
WORKING: Final = ".unpacking"  # gone when nothing is being installed
CHUNK_BYTES: Final = 1 << 22
_TO_SITE: Final = ("purelib", "platlib")  # of what a wheel keeps in its folder NAME.data; programs and headers stay out


@contextmanager
def made_whole(packed: Iterable[bytes], folder: Path, name: str) -> Iterator[IO[bytes]]:
    """Yield a nameless file, at its beginning, that holds what compressed pieces become.

    Raises:
        KitError: they are no whole xz stream.
        OSError: the disk is full.
    """
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    with tempfile.TemporaryFile(dir=folder) as plain:
        try:
            for piece in packed:
                plain.write(decompressor.decompress(piece))
        except (lzma.LZMAError, EOFError) as error:
            raise KitError(f"{name} is damaged inside its part; bring the kit again") from error
        if not decompressor.eof:
            raise KitError(f"{name} ends too early inside its part; bring the kit again")
        plain.seek(0)
        yield plain


def is_installed(into: Path, record: str) -> bool:
    """Whether a wheel's list of files is there, and all of its files with the digests that it tells."""
    path = into / SITE / record
    if not path.is_file():
        return False
    rows = _rows(path.read_text(encoding="utf-8"))
    return all(
        place.is_file() and (not digest or _record_digest(place) == digest)
        for name, digest in rows
        if (place := _place(into, name)) is not None
    )


def install_wheel(wheel: IO[bytes], into: Path, record: str) -> None:
    """Unzip a wheel into the folder `site`, each file held to its digest in RECORD, and RECORD last.

    Raises:
        KitError: a file has another digest, or would lie outside of the folder.
        OSError: a file can't be written.
    """
    working = into / WORKING
    try:
        with zipfile.ZipFile(wheel) as archive:
            listed = archive.read(record)
            for name, digest in _rows(listed.decode("utf-8")):
                place = _place(into, name)
                if place is not None and name != record:
                    _install_member(archive, name, digest, working, place)
    except (zipfile.BadZipFile, KeyError) as error:
        raise KitError(f"the wheel of {record.partition('/')[0]} is damaged ({one_line(error)})") from error
    (into / SITE / record).parent.mkdir(parents=True, exist_ok=True)
    write_whole(into / SITE / record, listed)


def _install_member(archive: zipfile.ZipFile, name: str, digest: str, working: Path, place: Path) -> None:
    member = archive.getinfo(name)
    made = Path(archive.extract(member, working))
    if digest and _record_digest(made) != digest:
        raise KitError(f"{name} has another digest than its wheel tells; bring the kit again")
    if member.external_attr >> 16 & 0o111:
        made.chmod(0o755)
    place.parent.mkdir(parents=True, exist_ok=True)
    made.replace(place)


def install_imagery(archive: IO[bytes], into: Path) -> None:
    """Unpack a tar of imagery into the folder `data`, which is there when all of it is.

    Raises:
        KitError: the tar holds something else than files inside of the folder.
        OSError: a file can't be written.
    """
    working = into / WORKING / IMAGERY
    with tarfile.TarFile(fileobj=archive) as tar:
        for member in tar:
            if not member.isreg() or not _stays_inside(member.name):
                raise KitError(
                    f"the imagery holds {member.name!r}, which is no file of its folder; bring the kit again"
                )
            place, content = working / member.name, tar.extractfile(member)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
            with place.open("r+b") as file:
                shutil.copyfileobj(content, file, CHUNK_BYTES)  # type: ignore[arg-type]  # a regular file has content
    working.replace(into / IMAGERY)


def _place(into: Path, name: str) -> Path | None:
    """Return where a file of a wheel goes, None where it is left out.

    Raises:
        KitError: it would lie outside of the folder.
    """
    if not _stays_inside(name):
        raise KitError(f"a wheel would write {name!r}, outside of its folder; bring the kit again")
    first, *rest = PurePosixPath(name).parts
    if first.endswith(".data") and rest:
        return into.joinpath(SITE, *rest[1:]) if rest[0] in _TO_SITE and rest[1:] else None
    return into / SITE / name


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _rows(record: str) -> list[tuple[str, str]]:
    """Return (path, digest) of each file that a RECORD lists; its own digest is empty."""
    return [(row[0], row[1]) for row in csv.reader(record.splitlines()) if len(row) == 3]


def _record_digest(path: Path) -> str:
    """Return the SHA-256 of a file in the form of RECORD."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return "sha256=" + base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
