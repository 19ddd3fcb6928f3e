"""Finished rows as the bytes of a journal's frame, and back."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, fields
from typing import Any, Final

import numpy as np

from kda_edge.tiling.tile_stream import TileFailure

from ..mapping.rows import Counts, MappedRows

HEADER, ROWS, END = b"H", b"R", b"E"  # first byte of a frame
LAYERS: Final = 3
_LENGTH: Final = struct.Struct("<I")  # of the facts that stand before the pixels of some rows


def payload_of(rows: MappedRows) -> bytes:
    """Return the frame of some rows: facts as JSON, then the pixels.

    Pixels are written as their differences from the left, runs only: of a drone's orthomosaic of 31 Mpx 0.38 s and
    8.3 MB, where zlib's fastest way takes 0.41 s and 13.1 MB. A card of a Jetson is slow.
    """
    facts = {
        "row_px": rows.row_px,
        **asdict(rows.counts),
        "failures": [asdict(failure) for failure in rows.failures],
        "warnings": rows.warnings,
        "rows_px": rows.layers.shape[1],
    }
    text = json.dumps(facts).encode()
    steps = np.array(rows.layers)
    steps[..., 1:] -= rows.layers[..., :-1]  # modulo 256
    packer = zlib.compressobj(strategy=zlib.Z_RLE)
    return b"".join((ROWS, _LENGTH.pack(len(text)), text, packer.compress(steps.data), packer.flush()))


def facts_of(payload: bytes) -> tuple[dict[str, Any], int]:
    """Return what a frame says of its rows, and where their pixels begin."""
    (length,) = _LENGTH.unpack_from(payload, 1)
    at = 1 + _LENGTH.size
    return json.loads(payload[at : at + length]), at + length


def rows_from(payload: bytes, width_px: int) -> MappedRows:
    """Return the rows that a frame was made of."""
    facts, at = facts_of(payload)
    steps = np.frombuffer(zlib.decompress(memoryview(payload)[at:]), np.uint8)
    return MappedRows(
        row_px=facts["row_px"],
        layers=np.cumsum(steps.reshape(LAYERS, facts["rows_px"], width_px), axis=2, dtype=np.uint8),
        counts=Counts(**{spec.name: facts[spec.name] for spec in fields(Counts)}),
        failures=tuple(TileFailure(**failure) for failure in facts["failures"]),
        warnings=tuple(facts["warnings"]),
    )
