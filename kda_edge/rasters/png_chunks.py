"""PNG: whether a file is whole, by the check sum of every chunk.

Decoders hand out rows before they reach the check sum behind them, so that a damaged file begins well and ends in
rows that were made up. Source: https://www.w3.org/TR/png-3/#5Chunk-layout
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
STEP_BYTES: Final = 2**20
_HEAD: Final = struct.Struct(">I4s")
_CRC: Final = struct.Struct(">I")
_ENDS: Final = "it ends before its last chunk"


def png_fault(file: BinaryIO) -> str | None:
    """Say what is wrong with the chunks that pixels and transparency come from; None: nothing.

    Args:
        file: open at its beginning.
    """
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return "it does not begin as a PNG does"
    while True:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return _ENDS
        left, name = _HEAD.unpack(head)
        crc = zlib.crc32(name)
        while left:
            data = file.read(min(left, STEP_BYTES))
            if not data:
                return _ENDS
            crc, left = zlib.crc32(data, crc), left - len(data)
        stored = file.read(_CRC.size)
        if len(stored) < _CRC.size:
            return _ENDS
        needed = name[:1].isupper() or name == b"tRNS"
        if needed and _CRC.unpack(stored)[0] != crc:
            return f"the check sum of its chunk {name.decode('latin-1')!r} is wrong"
        if name == b"IEND":
            return None
