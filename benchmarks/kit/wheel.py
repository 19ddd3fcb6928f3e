"""A wheel as a zip archive: what it requires, which files it writes, and the same wheel without deflate.

Deflate hides from xz what is alike; members that are stored as they are let it compress a wheel much further. What is
made is a wheel again, with the digests of its files in its own RECORD
(https://packaging.python.org/specifications/binary-distribution-format/).
"""

from __future__ import annotations

import email
import hashlib
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from kda_edge.errors import KitError, one_line

# A date of a zip archive that stands for none, so that the same wheel gives the same bytes.
NO_DATE: Final = (1980, 1, 1, 0, 0, 0)
_CUDA: Final = re.compile(r"^cuda_version = '([\d.]+)'", re.MULTILINE)


@dataclass(frozen=True)
class Wheel:
    """A wheel on the disk: its normalised name, version, requirements, list of files, and CUDA if it was built for one.

    Attributes:
        writes: path of each member, with its CRC-32.
        installed_bytes: of all its files.
    """

    path: Path
    name: str
    version: Version
    requires: tuple[Requirement, ...]
    record: str
    record_sha256: str
    writes: dict[str, int]
    cuda: str
    installed_bytes: int


def wheel_at(path: Path) -> Wheel:
    """Return what a wheel says of itself.

    Raises:
        KitError: it is no wheel.
    """
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            installed_bytes = sum(info.file_size for info in archive.infolist())
            members = {info.filename: info.CRC for info in archive.infolist() if not info.is_dir()}
            (record,) = (member for member in members if re.fullmatch(r"[^/]+\.dist-info/RECORD", member))
            record_sha256 = hashlib.sha256(archive.read(record)).hexdigest()
            metadata = email.message_from_bytes(archive.read(record.replace("RECORD", "METADATA")))
            told = [archive.read(member) for member in members if member.endswith("/build_and_package_info.py")]
        requires = tuple(Requirement(text) for text in metadata.get_all("Requires-Dist", []))
    except (zipfile.BadZipFile, InvalidWheelFilename, InvalidRequirement, KeyError, ValueError) as error:
        raise KitError(f"{path.name} is no wheel ({one_line(error)}); download it again") from error
    found = _CUDA.search(told[0].decode("utf-8", "replace")) if told else None
    cuda = found[1] if found else ""
    return Wheel(
        path, canonicalize_name(name), version, requires, record, record_sha256, members, cuda, installed_bytes
    )


def write_stored(wheel: Path, into: IO[bytes]) -> None:
    """Write the same wheel with its members stored as they are, and without dates.

    Raises:
        KitError: a member does not have the checksum that the archive tells.
    """
    try:
        with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as target:
            for info in source.infolist():
                stored = zipfile.ZipInfo(info.filename, NO_DATE)
                stored.external_attr = info.external_attr
                target.writestr(stored, source.read(info))
    except (zipfile.BadZipFile, zlib.error) as error:
        raise KitError(f"{wheel.name} is damaged ({one_line(error)}); download it again") from error
