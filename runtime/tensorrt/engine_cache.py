"""TensorRT engines kept on disk: built once for a graph, a device, a driver and a TensorRT, used until one differs.

One folder an engine, below `cache_folder()`: `engine.plan`, and `engine.json` with what it was built for, the digest of
the plan, its layers and what was measured of it. Loading a plan runs code that is in it, so its bytes are returned only
if they are whole, by their digest, and of files that nobody but this user or root may write; the digest alone would
not stop somebody who can write both files. A cache that can't be written costs time, never the engine.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kda_edge.errors import one_line
from kda_edge.opening_process import closed_in_forks
from kda_edge.paths import cache_folder
from kda_edge.whole_files import PART, own_bytes, write_whole

from .engine_key import EngineKey
from .precision_proof import LayerCounts

if TYPE_CHECKING:
    from .build import Built

PLAN: Final = "engine.plan"
RECORD: Final = "engine.json"
FORMAT: Final = 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cached:
    """An engine to load.

    Attributes:
        plan: its serialised bytes.
        layers: what its layers compute in.
        build_s: seconds that its build took, now or then.
        from_cache: it was built before.
        folder: where it is kept; None: it could not be.
        latency_ms: what was measured of it before, by precision; see `record`.
    """

    plan: bytes
    layers: LayerCounts
    build_s: float
    from_cache: bool
    folder: Path | None = None
    latency_ms: Mapping[str, float] = field(default_factory=dict)


def cached_engine(key: EngineKey, build: Callable[[], Built], *, root: Path | None = None) -> Cached:
    """Return the engine of a key, from the cache or newly built.

    A second process that asks for the same engine waits for the first, and uses its engine. One line of the log says
    what differs in an engine that is not used, and why a cache can't be written.

    Args:
        key: from `engine_key`.
        build: makes the engine; what it raises is raised here, and nothing is kept.
        root: of the cache; None is `cache_folder()`.
    """
    folder = (cache_folder() if root is None else root) / key.folder_name
    with _locked(folder) as unlocked:
        found, stale = _read(folder, key)
        if found is not None:
            return found
        if stale:
            _log.warning("the engine in %s %s: building again", folder, stale)
        built = build()
        not_kept = unlocked or _keep(folder, key, built)
    if not_kept:
        _log.warning("the engine is used and can't be kept in %s (%s); set KDA_EDGE_CACHE", folder, not_kept)
    return Cached(built.plan, built.layers, built.build_s, False, None if not_kept else folder)


def record(key: EngineKey, *, latency: Mapping[str, float], root: Path | None = None) -> None:
    """Add measured latencies, ms by precision, to what is kept of an engine; others that are there stay.

    Without such an engine, or in a cache that can't be written, nothing is kept, which is one line in the log.
    """
    for precision, latency_ms in latency.items():
        if not (math.isfinite(latency_ms) and latency_ms > 0):
            raise ValueError(f"the latency of {precision} is not {latency_ms!r} ms")
    folder = (cache_folder() if root is None else root) / key.folder_name
    with _locked(folder) as unlocked:
        found, stale = _read(folder, key)
        not_kept = unlocked
        if found is None:
            not_kept = unlocked or stale or "there is no engine"
        elif not unlocked:
            known = {**found.latency_ms, **{name: float(value) for name, value in latency.items()}}
            try:
                _write_record(folder, key, replace(found, latency_ms=known))
            except OSError as error:
                not_kept = one_line(error)
    if not_kept:
        _log.warning("the latencies of the engine in %s are not kept (%s)", folder, not_kept)


@contextmanager
def _locked(folder: Path) -> Iterator[str]:
    """Hold the folder's lock against other processes; yield why that is not possible, empty if it is."""
    reason = ""
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            close = partial(os.close, descriptor)
            stack.callback(close)  # and with it the lock
            stack.enter_context(closed_in_forks(close))
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.warning("another process builds the engine in %s: waiting for it", folder)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:  # read-only, full, or a file system without locks
            reason = one_line(error)
        yield reason


def _keep(folder: Path, key: EngineKey, built: Built) -> str:
    """Write the engine; return why that is not possible, empty if it is. A kill leaves nothing that is believed."""
    try:
        for leftover in folder.glob(f".*{PART}"):  # of a killed process: the lock is ours
            leftover.unlink()
        write_whole(folder / PLAN, built.plan)
        _write_record(folder, key, Cached(built.plan, built.layers, built.build_s, False))
    except OSError as error:
        return one_line(error)
    return ""


def _write_record(folder: Path, key: EngineKey, engine: Cached) -> None:
    content = {
        "format": FORMAT,
        "key": asdict(key),
        "plan_sha256": hashlib.sha256(engine.plan).hexdigest(),
        "layers": asdict(engine.layers),
        "build_s": engine.build_s,
        "latency_ms": dict(engine.latency_ms),
    }
    write_whole(folder / RECORD, (json.dumps(content, indent=1) + "\n").encode())


def _read(folder: Path, key: EngineKey) -> tuple[Cached | None, str]:
    """Return the engine if it may be used, else None and why not, as the end of a sentence; empty: there is none."""
    try:
        if not (folder / PLAN).exists() and not (folder / RECORD).exists():
            return None, ""
        text, plan = own_bytes(folder / RECORD), own_bytes(folder / PLAN)
    except PermissionError as error:
        return None, f"is not to be trusted ({one_line(error)})"
    except OSError as error:
        return None, f"is incomplete ({one_line(error)})"
    try:
        facts = json.loads(text)
        if facts["format"] != FORMAT:
            return None, "was kept by another version of kda-edge"
        was = EngineKey.from_json(facts["key"])
        latency_ms = {str(name): float(value) for name, value in facts["latency_ms"].items()}
        found = Cached(plan, LayerCounts(**facts["layers"]), float(facts["build_s"]), True, folder, latency_ms)
        digest = facts["plan_sha256"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, f"has a record that can't be read ({RECORD})"
    if was != key:
        return None, was.differs_from(key)
    if digest != hashlib.sha256(plan).hexdigest():
        return None, "is damaged or was written in part"
    return found, ""
