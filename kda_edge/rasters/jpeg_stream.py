"""JPEG: whether a file is whole, and whether its decoder complains anywhere up to the end.

A JPEG has no check sums. After damage its codes are out of step, and often the only word of it is that too many bytes
are left, or too few, where the picture ends. GDAL's driver never looks there: it takes the last row and stops. libtiff
does, so the very bytes are shown to it as the one strip of a TIFF.
Source: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.windows import Window

from kda_edge.rasters.gdal_messages import GDAL_ERRORS, listening
from kda_edge.rasters.silence import silenced

SIGNATURE: Final = b"\xff\xd8\xff"
ROWS_PX: Final = 1024  # decoded at once
_MARKER: Final = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_AFTER_SCAN: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)  # neither a stuffed 255 nor a restart
_SOI, _EOI, _SOS, _ADOBE = 0xD8, 0xD9, 0xDA, 0xEE
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_COMPLAINT: Final = re.compile(r"(Corrupt JPEG data|Premature end).*")
_LEFT_OVER: Final = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_SHORT, _LONG = 3, 4  # types of a TIFF's fields


class _Picture(NamedTuple):
    """What a TIFF must say of a JPEG."""

    height_px: int
    width_px: int
    components: tuple[int, ...]  # their names
    sampling: int  # of the first: horizontal, vertical, 4 bits each
    bits: int
    adobe: int | None  # transform: 0 is RGB or CMYK
    end: int  # behind its end marker


def jpeg_fault(content: bytes) -> str | None:
    """Say what is wrong with a JPEG: that it ends early, or what its decoder complains of; None: nothing.

    Must be called within GDAL's strict options.
    """
    picture = _picture(content)
    if picture is None:
        return "it ends, or is damaged, before its end marker"
    if picture.bits != 8 or len(picture.components) not in (1, 3, 4):
        return None  # GDAL has no decoder for it, or more to say than this
    heard: list[str] = []
    try:
        with (
            silenced(NotGeoreferencedWarning),
            MemoryFile(_as_tiff(content, picture)) as file,
            listening(heard),
            file.open() as dataset,
        ):
            for row in range(0, picture.height_px, ROWS_PX):
                rows = min(ROWS_PX, picture.height_px - row)
                dataset.read(1, window=Window(0, row, picture.width_px, rows))
    except GDAL_ERRORS:
        pass  # libtiff takes fewer kinds than GDAL; what was heard before counts
    complaints = [found[0] for found in map(_COMPLAINT.search, heard) if found is not None]
    return next((text for text in complaints if not _is_padding(text, content, picture.end)), None)


def _is_padding(text: str, content: bytes, end: int) -> bool:
    """Whether bytes that are left over are the zeros that some cameras fill up with."""
    found = _LEFT_OVER.search(text)
    return found is not None and not content[end - 2 - int(found[1]) : end - 2].strip(b"\x00\xff")


def _picture(content: bytes) -> _Picture | None:
    """Return what the markers say; None where they end before the end marker, or make no picture."""
    frame: bytes = b""
    adobe: int | None = None
    for marker, start, end in _segments(content):
        if marker in _FRAMES:
            frame = content[start:end]
        elif marker == _ADOBE and content[start : start + 5] == b"Adobe":
            adobe = content[start + 11]
        elif marker == _EOI and len(frame) >= 6:
            bits, height_px, width_px, count = struct.unpack_from(">BHHB", frame)
            components = [frame[6 + 3 * number : 9 + 3 * number] for number in range(count)]
            if not all(len(component) == 3 for component in components) or not components:
                return None
            names = tuple(component[0] for component in components)
            return _Picture(height_px, width_px, names, components[0][1], bits, adobe, end)
    return None


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment, the end marker's last."""
    at = 0
    while (found := _MARKER.match(content, at)) is not None:
        marker, at = found[1][0], found.end()
        if marker == _EOI:
            yield marker, at, at
            return
        if marker in _ALONE:
            continue
        if at + 2 > len(content):
            return
        (length,) = struct.unpack_from(">H", content, at)
        yield marker, at + 2, at + length
        at += length
        if marker == _SOS:
            after = _AFTER_SCAN.search(content, at)
            if after is None:
                return
            at = after.start()


def _as_tiff(content: bytes, picture: _Picture) -> bytes:
    """Return a TIFF whose one strip is the JPEG."""
    names = picture.components
    is_rgb = picture.adobe == 0 or (picture.adobe is None and bytes(names) == b"RGB")
    photometric = {1: 1, 3: 2 if is_rgb else 6, 4: 5}[len(names)]
    strip = content[: picture.end] + b"\0" * (picture.end % 2)
    fields = [
        (256, _LONG, 1, picture.width_px),
        (257, _LONG, 1, picture.height_px),
        (259, _SHORT, 1, 7),  # JPEG
        (262, _SHORT, 1, photometric),
        (273, _LONG, 1, 8),  # where the strip begins
        (277, _SHORT, 1, len(names)),
        (278, _LONG, 1, picture.height_px),
        (279, _LONG, 1, picture.end),
        (284, _SHORT, 1, 1),  # bands of a pixel beside each other
    ]
    if photometric == 6:
        fields.append((530, _SHORT, 2, picture.sampling >> 4 | (picture.sampling & 15) << 16))
    bits_at = 8 + len(strip) + 2 + 12 * (len(fields) + 1) + 4
    in_place = len(names) == 1
    fields.append((258, _SHORT, len(names), picture.bits if in_place else bits_at))
    directory = b"".join(struct.pack("<HHII", *field) for field in sorted(fields))
    head = struct.pack("<2sHI", b"II", 42, 8 + len(strip))
    bits = struct.pack(f"<{len(names)}H", *[picture.bits] * len(names))
    return b"".join((head, strip, struct.pack("<H", len(fields)), directory, struct.pack("<I", 0), bits))
