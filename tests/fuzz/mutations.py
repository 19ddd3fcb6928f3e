"""Random damage to bytes: what disks, networks and other programs do to files, and what nobody does on purpose."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any, Final

import numpy as np

# Numbers that break arithmetic: ends of ranges, signs, powers of two and their neighbours.
EDGES: Final = (0, 1, 2, 3, 4, 7, 8, 255, 256, 1000, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
TIFF_TAGS: Final = (
    *(256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 284, 305, 317, 320, 322, 323, 324, 325, 330, 338),
    *(339, 340, 347, 530, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113),
)
ODD_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 1, 2, 7.5, 1e308, -1e308, 2**63, 2**64, "", "x", "nan", "\0", "é", [], {}, [None], {"a": 1}),
    *([1, 2], [1, 2, 3, 4], "uint8", float("nan"), float("inf")),
)


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """Return bytes that differ from `content` by one to four random changes."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        change = CHANGES[int(rng.integers(len(CHANGES)))]
        changed = change(rng, changed) if changed else changed
    return bytes(changed)


def _flip_bit(rng: np.random.Generator, content: bytearray) -> bytearray:
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return content


def _set_byte(rng: np.random.Generator, content: bytearray) -> bytearray:
    content[int(rng.integers(len(content)))] = int(rng.integers(256))
    return content


def _set_number(rng: np.random.Generator, content: bytearray) -> bytearray:
    """Put an awkward number somewhere, more often near the beginning, where headers are."""
    size = (1, 2, 4)[int(rng.integers(3))]
    near = min(len(content), 512) if rng.random() < 0.7 else len(content)
    at = int(rng.integers(max(near - size, 1)))
    value = EDGES[int(rng.integers(len(EDGES)))] % 2 ** (8 * size)
    content[at : at + size] = value.to_bytes(size, ("little", "big")[int(rng.integers(2))])
    return content


def _cut(rng: np.random.Generator, content: bytearray) -> bytearray:
    return content[: int(rng.integers(len(content)))]


def _remove(rng: np.random.Generator, content: bytearray) -> bytearray:
    first, last = sorted(int(i) for i in rng.integers(len(content), size=2))
    last = min(last, first + 64)
    return content[:first] + content[last:]


def _repeat(rng: np.random.Generator, content: bytearray) -> bytearray:
    first, last = sorted(int(i) for i in rng.integers(len(content), size=2))
    return content[:last] + content[first : min(last, first + 4096)] + content[last:]


def _blank(rng: np.random.Generator, content: bytearray) -> bytearray:
    """Zeros over a stretch, as of a file of which a part was never written."""
    first = int(rng.integers(len(content)))
    count = min(int(rng.integers(1, 600)), len(content) - first)
    content[first : first + count] = bytes(count)
    return content


def _change_tiff_entry(rng: np.random.Generator, content: bytearray) -> bytearray:
    """Change tag, type, count or value of an entry of a TIFF's first directory; other files are left alone."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(content[:2]))
    if order is None or len(content) < 8:
        return content
    (at,) = struct.unpack_from(order + "I", content, 4)
    if at + 2 > len(content):
        return content
    (count,) = struct.unpack_from(order + "H", content, at)
    if not count:
        return content
    entry = at + 2 + 12 * int(rng.integers(count))
    if entry + 12 > len(content):
        return content
    field = int(rng.integers(4))
    if field == 0:
        struct.pack_into(order + "H", content, entry, int(rng.choice(TIFF_TAGS)))
    elif field == 1:
        struct.pack_into(order + "H", content, entry + 2, int(rng.integers(0, 20)))
    else:
        struct.pack_into(order + "I", content, entry + 4 * (field - 1), EDGES[int(rng.integers(len(EDGES)))])
    return content


CHANGES: Final = (_flip_bit, _set_byte, _set_number, _cut, _remove, _repeat, _blank, _change_tiff_entry)


def damaged_json(rng: np.random.Generator, text: str) -> str:
    """Return JSON of which some values, keys or characters are others."""
    if rng.random() < 0.25:
        return damaged(rng, text.encode()).decode("utf-8", "replace")
    plain = json.loads(text)
    for _ in range(int(rng.integers(1, 4))):
        _change_value(rng, plain)
    return json.dumps(plain)


def _change_value(rng: np.random.Generator, plain: Any) -> None:
    """Change one value somewhere inside an object or list, in place."""
    keys = list(plain) if isinstance(plain, dict) else list(range(len(plain))) if isinstance(plain, list) else []
    if not keys:
        return
    key = keys[int(rng.integers(len(keys)))]
    if isinstance(plain[key], dict | list) and plain[key] and rng.random() < 0.7:
        _change_value(rng, plain[key])
    elif rng.random() < 0.2:
        del plain[key]
    elif isinstance(plain, dict) and rng.random() < 0.1:
        plain[f"{key}x"] = plain.pop(key)
    else:
        plain[key] = copy.deepcopy(ODD_VALUES[int(rng.integers(len(ODD_VALUES)))])  # lest changes go into the list
