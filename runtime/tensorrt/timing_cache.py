"""The timing cache: what TensorRT measured while it built, kept in a file for the next build."""

from __future__ import annotations

import json
import logging
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import one_line
from kda_edge.whole_files import write_whole

from ..hardware.gpu_probe import Device

HEADER: Final = b"kda-edge timing cache 1\n"

_log = logging.getLogger(__name__)


def load_timings(config: Any, path: Path, *, device: Device, version: str) -> None:
    """Give the builder the timings of a file; with none, or those of another device or version, it starts empty.

    TensorRT parses what it is given, so only what is whole and was written here for this device reaches it.
    """
    kept = _read(path, _owner(device, version))
    timings = config.create_timing_cache(kept)
    if config.set_timing_cache(timings, False):  # False: refuse those of another device
        return
    _log.warning("TensorRT does not take the timings in %s: measuring anew", path)
    timings = config.create_timing_cache(b"")
    config.set_timing_cache(timings, False)


def save_timings(config: Any, path: Path, *, device: Device, version: str) -> None:
    """Keep the builder's timings; a file that can't be written is one line in the log."""
    timings = config.get_timing_cache()
    if timings is None:
        return
    content = bytes(timings.serialize())
    facts = {"owner": _owner(device, version), "sha256": sha256(content).hexdigest()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, HEADER + json.dumps(facts).encode() + b"\n" + content)
    except OSError as error:
        _log.warning("the timings can't be kept in %s (%s)", path, one_line(error))


def _owner(device: Device, version: str) -> str:
    capability = ".".join(map(str, device.compute_capability))
    return f"TensorRT {version} on {device.name} (compute capability {capability}, driver {device.driver_version})"


def _read(path: Path, owner: str) -> bytes:
    """Return the timings of a file; none where it is not there, is another's or is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        _log.warning("the timings in %s can't be read (%s): measuring anew", path, one_line(error))
        return b""
    first, _, rest = content.removeprefix(HEADER).partition(b"\n")
    try:
        facts = json.loads(first) if content.startswith(HEADER) else {}
        written_by, digest = facts.get("owner"), facts.get("sha256")
    except (ValueError, AttributeError):
        written_by = digest = None
    if digest != sha256(rest).hexdigest():
        _log.warning("the timings in %s are damaged or not from here: measuring anew", path)
        return b""
    if written_by != owner:
        _log.warning("the timings in %s are from %s and this is %s: measuring anew", path, written_by, owner)
        return b""
    return rest
