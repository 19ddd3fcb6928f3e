"""The parts of a kit as files: cutting the stream of packed files, and finding in a folder what was brought.

Nothing but the standard library. Parts are known by what they begin with, not by their names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from kda_edge.errors import KitError
from kda_edge.whole_files import write_whole

from .kit_file import HEADER_BYTES, KIT_JSON, MAGIC, Kit, PackedFile, Part, kit_of

CHUNK_BYTES: Final = 1 << 22
_HEADER: Final = re.compile(re.escape(MAGIC) + rb"(\d+) of \d+, of ([0-9a-f]{64}) *\n")
_NAME: Final = re.compile(r"kit\.part(\d+)")


def part_name(number: int) -> str:
    """Return the name of a part's file."""
    return f"kit.part{number:02d}"


def write_parts(kit: Kit, packed: Sequence[Path], folder: Path) -> Kit:
    """Cut packed files, one behind the other, into parts; write them and `kit.json`; return the kit with its parts.

    Parts of an older kit are removed first.

    Args:
        kit: of these files, in this order.
        packed: the files.
        folder: made if it is missing.

    Raises:
        OSError: a file can't be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in [folder / KIT_JSON, *(path for path in folder.iterdir() if _NAME.fullmatch(path.name))]:
        old.unlink(missing_ok=True)
    parts = []
    for number, payload in enumerate(_cut(packed, kit.payload_bytes), start=1):
        content = kit.header(number) + payload
        write_whole(folder / part_name(number), content)
        parts.append(Part(number, len(content), hashlib.sha256(content).hexdigest()))
    made = replace(kit, parts=tuple(parts))
    write_whole(folder / KIT_JSON, made.to_json().encode())
    return made


def _cut(files: Iterable[Path], length: int) -> Iterator[bytes]:
    """Yield the bytes of files, one behind the other, in pieces of a length."""
    waiting = bytearray()
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(length - len(waiting)):
                waiting += piece
                if len(waiting) == length:
                    yield bytes(waiting)
                    waiting.clear()
    if waiting:
        yield bytes(waiting)


def kit_in(folder: Path) -> Kit:
    """Return the kit whose `kit.json` is in a folder.

    Raises:
        KitError: it is missing or damaged.
    """
    try:
        return kit_of((folder / KIT_JSON).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise KitError(f"{folder} holds no {KIT_JSON}; bring it beside the parts") from error
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"{folder / KIT_JSON} can't be read; bring it again") from error


class PartFolder:
    """The parts of one kit in a folder, each held to its digest once, before anything of it is used."""

    def __init__(self, folder: Path, kit: Kit) -> None:
        self.kit = kit
        self._files = _parts_in(folder, kit)
        self._checked: set[int] = set()

    def require(self, files: Iterable[PackedFile]) -> None:
        """Hold all parts that files lie in to their digests.

        Raises:
            KitError: parts are missing, or one is damaged; the message names it.
        """
        numbers = sorted({number for file in files for number in self.kit.numbers_of(file)} - self._checked)
        missing = [part_name(number) for number in numbers if number not in self._files]
        if missing:
            raise KitError(
                f"{', '.join(missing)} of {self.kit.part_count} is missing; bring it, or name fewer --groups"
            )
        for number in numbers:
            self._require_whole(self.kit.parts[number - 1])
            self._checked.add(number)

    def packed(self, file: PackedFile) -> Iterator[bytes]:
        """Yield the bytes of a packed file, whose parts were required before.

        Raises:
            KitError: they are not those of the file.
        """
        digest, length = hashlib.sha256(), self.kit.payload_bytes
        for number in self.kit.numbers_of(file):
            begin = (number - 1) * length
            first, last = max(file.offset_bytes, begin) - begin, min(file.end_bytes, begin + length) - begin
            with self._files[number].open("rb") as part:
                part.seek(HEADER_BYTES + first)
                left = last - first
                while left and (piece := part.read(min(left, CHUNK_BYTES))):
                    left -= len(piece)
                    digest.update(piece)
                    yield piece
        if digest.hexdigest() != file.sha256:
            raise KitError(f"{file.name} is damaged inside its part; bring the kit again")

    def _require_whole(self, part: Part) -> None:
        path, digest = self._files[part.number], hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                digest.update(piece)
        if digest.hexdigest() != part.sha256:
            size = path.stat().st_size
            how = f"{size} bytes instead of {part.bytes}" if size != part.bytes else "other bytes than were sent"
            raise KitError(f"{path.name} is damaged ({how}); bring part {part.number} again")


def _parts_in(folder: Path, kit: Kit) -> dict[int, Path]:
    """Return where each part lies that was brought.

    Raises:
        KitError: a part is there twice, is of another kit, or has a part's name and is none.
    """
    found: dict[int, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            header = _HEADER.fullmatch(file.read(HEADER_BYTES))
        if header is None:
            if _NAME.fullmatch(path.name):
                raise KitError(f"{path.name} is damaged: it does not begin as a part of a kit; bring it again")
            continue
        if header[2].decode() != kit.kit_id:
            raise KitError(f"{path.name} is of another kit than {KIT_JSON}; remove it, or bring its own {KIT_JSON}")
        number = int(header[1])
        if number in found:
            raise KitError(f"{found[number].name} and {path.name} are both part {number}; remove one")
        if not 1 <= number <= len(kit.parts):
            raise KitError(f"{path.name} is damaged: there is no part {number} of {len(kit.parts)}; bring it again")
        found[number] = path
    return found
