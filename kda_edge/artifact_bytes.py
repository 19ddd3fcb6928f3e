"""An ONNX file as bytes: its metadata, and the digest of all the rest, without the onnx package.

ONNX is a protocol buffer (https://protobuf.dev/programming-guides/encoding): fields of a number and a wire type, one
after another. `ModelProto.metadata_props` has the number 14, and each entry of it a key (1) and a value (2). Nothing
deeper is read, so a file of gigabytes costs one pass of the digest over a memory map.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from kda_edge.errors import ArtifactError

METADATA_FIELD: Final = 14
KEY_FIELD: Final = 1
VALUE_FIELD: Final = 2
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types; the others are long out of use

Buffer = bytes | memoryview


def graph_digest(content: Buffer) -> str:
    """Return the SHA-256 of an ONNX file without its metadata, in hexadecimal: what the model computes, by its bytes.

    Raises:
        ArtifactError: not a protocol buffer.
    """
    view = memoryview(content)
    digest = hashlib.sha256()
    for number, start, _, end in _fields(view):
        if number != METADATA_FIELD:
            digest.update(view[start:end])
    return digest.hexdigest()


def metadata_of(content: Buffer) -> dict[str, str]:
    """Return the metadata of an ONNX file; a key that is there twice has its last value, as ONNX Runtime reads it.

    Raises:
        ArtifactError: not a protocol buffer, or metadata that is no text.
    """
    view = memoryview(content)
    found = {}
    for number, _, value_start, end in _fields(view):
        if number == METADATA_FIELD:
            entry = view[value_start:end]
            texts = {field: _text(entry[first:last]) for field, _, first, last in _fields(entry)}
            found[texts.get(KEY_FIELD, "")] = texts.get(VALUE_FIELD, "")
    return found


def _fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield the number of each field, where it starts, where its value starts, and where it ends."""
    at = 0
    while at < len(view):
        start = at
        tag, at = _varint(view, at)
        number, wire_type = tag >> 3, tag & 7
        value_start = at
        if wire_type == VARINT:
            _, at = _varint(view, at)
        elif wire_type == LENGTH:
            length, value_start = _varint(view, at)
            at = value_start + length
        elif wire_type in (FIXED32, FIXED64):
            at += 4 if wire_type == FIXED32 else 8
        else:
            raise _broken()
        if at > len(view) or number == 0:
            raise _broken()
        yield number, start, value_start, at


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where the next thing starts."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _broken()


def _text(view: memoryview) -> str:
    try:
        return bytes(view).decode("utf-8")
    except UnicodeDecodeError:
        raise _broken() from None


def _broken() -> ArtifactError:
    return ArtifactError("it is no ONNX model, or one that is damaged")
