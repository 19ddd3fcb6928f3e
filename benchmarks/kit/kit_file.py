"""The file `kit.json`: what is in a kit, in which of its parts, with the digest of each, as a checked value.

The parts of a kit are one stream of compressed files, cut. Each part begins with a header, which says of which kit and
which number it is, so that a part of another kit is told from a damaged one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

from kda_edge.errors import KitError, one_line

KIT_JSON: Final = "kit.json"
SCHEMA_VERSION: Final = 1
HEADER_BYTES: Final = 128
MAGIC: Final = b"kda-edge kit, part "


@dataclass(frozen=True)
class PackedFile:
    """A file of the stream: a wheel, whose members are stored as they are, or a tar of imagery; compressed by xz.

    Attributes:
        name: of the wheel, or of the tar.
        group: of `groups.ORDER`.
        offset_bytes, packed_bytes: where in the stream it lies.
        installed_bytes: of its files on the disk.
        sha256: of what lies in the stream.
        record: of a wheel, its list of files, by its path; empty for imagery.
        cuda: the CUDA that a wheel of ONNX Runtime was built for; empty for others.
    """

    name: str
    group: str
    offset_bytes: int
    packed_bytes: int
    installed_bytes: int
    sha256: str
    record: str = ""
    cuda: str = ""

    @property
    def end_bytes(self) -> int:
        """Where in the stream the next file begins."""
        return self.offset_bytes + self.packed_bytes


@dataclass(frozen=True)
class Part:
    """One file that carries a piece of the stream, from 1; the digest is of the whole part, header included."""

    number: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Kit:
    """All about a kit but its bytes.

    Attributes:
        python: version that the wheels are for, such as "3.12".
        glibc: the oldest version of the C library that all of the wheels run with.
        imports: by group, the modules that must import once it is installed.
        payload_bytes: how much of the stream a part carries, but for the last one.
    """

    python: str
    glibc: str
    imports: Mapping[str, tuple[str, ...]]
    payload_bytes: int
    files: tuple[PackedFile, ...]
    parts: tuple[Part, ...] = ()

    @cached_property
    def kit_id(self) -> str:
        """SHA-256 of what the kit holds; its parts are not in it, since they hold the name themselves."""
        return _digest({**asdict(self), "parts": None})

    @property
    def stream_bytes(self) -> int:
        """Length of the stream."""
        return self.files[-1].end_bytes if self.files else 0

    @property
    def part_count(self) -> int:
        """How many parts the stream is cut into."""
        return -(-self.stream_bytes // self.payload_bytes)

    def numbers_of(self, file: PackedFile) -> list[int]:
        """Return the numbers of the parts that a file lies in."""
        first, last = file.offset_bytes // self.payload_bytes, (file.end_bytes - 1) // self.payload_bytes
        return list(range(first + 1, last + 2))

    def header(self, number: int) -> bytes:
        """Return the first `HEADER_BYTES` of a part."""
        return (MAGIC + f"{number} of {self.part_count}, of {self.kit_id}".encode()).ljust(HEADER_BYTES - 1) + b"\n"

    def to_json(self) -> str:
        """Return the text of `kit.json`, with a digest of itself; of each file it also says in which parts it lies."""
        content = asdict(self)
        for row, file in zip(content["files"], self.files, strict=True):
            row["parts"] = self.numbers_of(file)
        content = {"schema_version": SCHEMA_VERSION, "kit": self.kit_id, **content}
        return json.dumps({**content, "digest": _digest(content)}, indent=1) + "\n"


def kit_of(text: str) -> Kit:
    """Return the kit that a `kit.json` tells of.

    Raises:
        KitError: it is no such file, is damaged, or of another version.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        told = content.pop("digest")
        if content["schema_version"] != SCHEMA_VERSION:
            raise KitError(f"{KIT_JSON} is of version {content['schema_version']}; use the assemble.pyz beside it")
        if told != _digest(content):
            raise KitError(f"{KIT_JSON} is damaged: its digest is not the one it tells; bring it again")
        files = [PackedFile(**{key: row[key] for key in row if key != "parts"}) for row in content["files"]]
        return Kit(
            python=content["python"],
            glibc=content["glibc"],
            imports={group: tuple(names) for group, names in content["imports"].items()},
            payload_bytes=content["payload_bytes"],
            files=tuple(files),
            parts=tuple(Part(**row) for row in content["parts"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, KitError):
            raise
        raise KitError(f"{KIT_JSON} is damaged or no list of a kit ({one_line(error)}); bring it again") from error


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
