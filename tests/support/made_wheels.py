"""Tiny wheels made on the spot, a real one packed again from what is installed, and kits of them."""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from kda_edge.benchmarks.kit.assembler import NAME, assembler
from kda_edge.benchmarks.kit.collect import packed_files
from kda_edge.benchmarks.kit.kit_file import Kit
from kda_edge.benchmarks.kit.parts import write_parts
from kda_edge.benchmarks.kit.wheel import wheel_at

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def made_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a wheel whose package says its version; return where it lies."""
    content = {f"{name}/__init__.py": f"__version__ = {version!r}\n".encode(), **(files or {})}
    said = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Requires-Dist: {item}" for item in requires),
    ]
    content[f"{name}-{version}.dist-info/METADATA"] = ("\n".join(said) + "\n").encode()
    content[f"{name}-{version}.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return _written(folder, f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info/RECORD", content)


def repacked_wheel(folder: Path, name: str) -> Path:
    """Write the wheel that an installed distribution came from; return where it lies."""
    found = metadata.distribution(name)
    listed = {str(path): path.locate() for path in found.files or ()}
    content = {
        path: Path(str(place)).read_bytes()
        for path, place in listed.items()
        if not path.startswith("..")
        and not path.endswith((".pyc", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json"))
    }
    (told,) = (path for path in listed if path.endswith(".dist-info/RECORD"))
    return _written(folder, f"{told.partition('.dist-info')[0]}-py3-none-any.whl", told, content)


def made_kit(
    folder: Path,
    wheels: Iterable[tuple[str, Path]],
    *,
    imports: Mapping[str, tuple[str, ...]],
    payload_bytes: int = 300,
    data: Path | None = None,
    python: str = PYTHON,
) -> Kit:
    """Write a kit of (group, wheel) into `folder`, in the order of the groups that `imports` names."""
    cache = folder.parent / f"{folder.name}-cache"
    cache.mkdir(exist_ok=True)
    groups = [*imports, *(["data"] if data is not None else [])]
    packed = packed_files(groups, [(group, wheel_at(path)) for group, path in wheels], data, cache)
    kit = Kit(python=python, glibc="2.17", imports=dict(imports), payload_bytes=payload_bytes, files=tuple(packed))
    made = write_parts(kit, list(packed.values()), folder)
    (folder / NAME).write_bytes(assembler())
    return made


def _written(folder: Path, file_name: str, record: str, content: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"{name},{_digest(data)},{len(data)}" for name, data in content.items()]
    with zipfile.ZipFile(folder / file_name, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.writestr(record, "\n".join([*rows, f"{record},,"]) + "\n")
    return folder / file_name


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
