"""Every byte of a PNG that pixels or transparency come from is under a check sum."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest

from kda_edge.rasters.png_chunks import png_fault


def png() -> bytes:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    return bytes(cv2.imencode(".png", image)[1].tobytes())


def chunk(name: bytes, data: bytes, *, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ wrong)


def test_each_changed_byte_and_each_missing_end_of_a_png_is_told() -> None:
    content = png()
    assert png_fault(io.BytesIO(content)) is None
    assert png_fault(io.BytesIO(content + b"what a camera adds")) is None
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 0x10
        assert png_fault(io.BytesIO(changed)) is not None, at
        assert png_fault(io.BytesIO(content[:at])) is not None, at


@pytest.mark.parametrize(("name", "is_needed"), [(b"tEXt", False), (b"eXIf", False), (b"tRNS", True), (b"PLTE", True)])
def test_a_wrong_check_sum_counts_where_pixels_depend_on_the_chunk(name: bytes, is_needed: bool) -> None:
    content = png()
    head = 8 + 25
    good = content[:head] + chunk(name, b"words") + content[head:]
    wrong = content[:head] + chunk(name, b"words", wrong=1) + content[head:]
    assert png_fault(io.BytesIO(good)) is None
    fault = png_fault(io.BytesIO(wrong))
    assert (fault == f"the check sum of its chunk {name.decode()!r} is wrong") == is_needed
    assert (fault is None) == (not is_needed)
