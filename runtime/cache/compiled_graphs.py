"""Graphs that OpenVINO has compiled, kept on disk, so that the next opening takes about half as long.

OpenVINO's own cache takes whatever lies under a name for the weights that it once wrote. Here a graph is used only if
its bytes are whole, by their digest, of a file that nobody but this user or root may write, and made from the very
file, settings, OpenVINO and processor that are asked for. A cache that can't be written or read costs time only.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from kda_edge import __version__
from kda_edge.errors import one_line
from kda_edge.machine import machine_facts
from kda_edge.whole_files import own_bytes, write_whole

FOLDER: Final = "openvino"  # below the cache's folder
SUFFIX: Final = ".graph"
KEPT: Final = 4  # graphs; each is about as large as its model
DIGEST_BYTES: Final = hashlib.sha256().digest_size
_STEP_BYTES: Final = 2**20

_log = logging.getLogger(__name__)


class CompiledGraph:
    """The place of one compiled graph in the cache."""

    def __init__(self, path: Path, settings: Mapping[str, Any], version: str, *, root: Path) -> None:
        """Name it by all that it depends on.

        Args:
            path: of the model file; where it can't be read nothing is kept of it.
            settings: that it is compiled with.
            version: of OpenVINO.
            root: of the cache.
        """
        facts = machine_facts(())
        digest = _file_digest(path)
        key = {
            "file_sha256": digest,
            "settings": dict(settings),
            "openvino": version,
            "kda_edge": __version__,
            **{name: facts[name] for name in ("processor", "instructions", "cores")},
        }
        self._key = json.dumps(key, sort_keys=True).encode()
        self._path = None if digest is None else root / FOLDER / f"{hashlib.sha256(self._key).hexdigest()[:32]}{SUFFIX}"

    def read(self) -> bytes | None:
        """Return its bytes; None where none are kept that may be used."""
        if self._path is None:
            return None
        try:
            content = own_bytes(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("the graph in %s is not used (%s)", self._path, one_line(error))
            return None
        digest, graph = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if digest != self._digest(graph):
            self.discard("it is damaged or was written in part")
            return None
        return graph

    def keep(self, graph: bytes) -> None:
        """Keep its bytes, and of all graphs the newest few."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._path, self._digest(graph) + graph)
            for old in sorted(self._path.parent.glob(f"*{SUFFIX}"), key=_age)[:-KEPT]:
                old.unlink(missing_ok=True)
        except OSError as error:
            _log.warning(
                "the compiled graph can't be kept in %s (%s); set KDA_EDGE_CACHE", self._path.parent, one_line(error)
            )

    def discard(self, reason: str) -> None:
        """Take it away, for a reason that is told."""
        _log.warning("the graph in %s is compiled anew: %s", self._path, reason)
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _digest(self, graph: bytes) -> bytes:
        digest = hashlib.sha256(self._key)
        digest.update(graph)
        return digest.digest()


def _file_digest(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for part in iter(partial(file.read, _STEP_BYTES), b""):
                digest.update(part)
    except OSError:
        return None
    return digest.hexdigest()


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns
