"""Facts of samples that are kept in the user's cache, each under a digest of the files that it was measured on.

A changed file has another digest and so is decoded anew; a moved or renamed one is found again. The cache may be
deleted at any time, and where it can't be written the only loss is time.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from kda_edge.errors import one_line
from kda_edge.manifest import InputContract
from kda_edge.paths import cache_folder

from ..data.sources import Sample
from .keypoints import Keypoints
from .sample_facts import Footprint, SampleFacts

FILE: Final = "data_report.sqlite"
FORMAT: Final = 2  # of the facts; a larger one where they are measured otherwise
WAIT_S: Final = 20.0  # for another process that writes
ARRAYS: Final = {"rows": "<i4", "cols": "<i4", "codes": "<u8"}

_log = logging.getLogger(__name__)


def key_of(sample: Sample, contract: InputContract) -> str:
    """Return a digest of all that a sample's facts depend on: the bytes of its files, and how they are declared.

    Raises:
        OSError: a file can't be read.
    """
    files = [_digest(path) for path in (sample.image, sample.mask, sample.valid) if path is not None]
    source = sample.source
    declared = [
        *(sample.mask is not None, sample.valid is not None, source.bands, sample.window_ltrb),
        *(source.mask_landslide, source.mask_ignored, contract.pixel_type, contract.value_range),
    ]
    return hashlib.sha256(json.dumps([FORMAT, files, declared]).encode()).hexdigest()


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file and of what GDAL reads beside it."""
    beside = [path.with_name(path.name + ending) for ending in (".msk", ".aux.xml")]
    digest = hashlib.sha256()
    for part in (path, *(one for one in beside if one.is_file())):
        digest.update(part.name.removeprefix(path.name).encode() + b"\0")
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


class KeptFacts:
    """The facts in the cache; may be used by several threads and processes at once."""

    def __init__(self, root: Path | None = None) -> None:
        """Name the place.

        Args:
            root: of the cache; None is `cache_folder()`.
        """
        self._path = (cache_folder() if root is None else root) / FILE
        self._lock = threading.Lock()
        self._works = True

    def find(self, key: str) -> SampleFacts | None:
        """Return the facts under a key, or None."""
        row = self._ask(lambda database: database.execute("SELECT content FROM facts WHERE key = ?", (key,)).fetchone())
        try:
            return _from_text(row[0]) if row else None
        except (ValueError, TypeError, KeyError):
            return None  # damaged: measured again

    def keep(self, facts: Mapping[str, SampleFacts]) -> None:
        """Keep facts, by key; where that is not possible, one line in the log says so."""
        rows = [(key, _to_text(one)) for key, one in facts.items()]
        self._ask(lambda database: database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows))

    def _ask(self, question: Callable[[sqlite3.Connection], Any]) -> Any:
        """Return what the database answers; None once it has failed."""
        with self._lock:
            if not self._works:
                return None
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with closing(sqlite3.connect(self._path, timeout=WAIT_S)) as database, database:
                    database.execute("CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, content TEXT NOT NULL)")
                    return question(database)
            except (OSError, sqlite3.Error) as error:
                self._works = False
                _log.warning(
                    "what images hold can't be kept in %s (%s); delete that file, or set KDA_EDGE_CACHE",
                    self._path,
                    one_line(error),
                )
                return None


def _to_text(facts: SampleFacts) -> str:
    plain = {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}
    if facts.footprint is not None:
        plain["footprint"] = dataclasses.asdict(facts.footprint)
    if facts.keypoints is not None:
        plain["keypoints"] = _plain_keypoints(facts.keypoints)
    return json.dumps(plain)


def _from_text(text: str) -> SampleFacts:
    plain = json.loads(text)
    plain["low"], plain["high"] = tuple(plain["low"]), tuple(plain["high"])
    plain["scaling"] = tuple(map(tuple, plain["scaling"]))
    if plain["footprint"] is not None:
        plain["footprint"] = Footprint(plain["footprint"]["crs"], tuple(plain["footprint"]["bounds_xyxy"]))
    if plain["keypoints"] is not None:
        plain["keypoints"] = _keypoints(plain["keypoints"])
    return SampleFacts(**plain)


def _plain_keypoints(keypoints: Keypoints) -> dict[str, Any]:
    arrays = {name: getattr(keypoints, name).astype(kind) for name, kind in ARRAYS.items()}
    return {
        "size_hw": [keypoints.height_px, keypoints.width_px],
        "thumbnail_hw": keypoints.thumbnail.shape,
        "thumbnail": _base64(keypoints.thumbnail),
        **{name: _base64(array) for name, array in arrays.items()},
    }


def _keypoints(plain: dict[str, Any]) -> Keypoints:
    rows, cols, codes = (np.frombuffer(base64.b64decode(plain[name]), kind) for name, kind in ARRAYS.items())
    thumbnail = np.frombuffer(base64.b64decode(plain["thumbnail"]), np.uint8).reshape(plain["thumbnail_hw"])
    height_px, width_px = plain["size_hw"]
    place = rows.astype(np.int32), cols.astype(np.int32)
    return Keypoints(height_px, width_px, *place, codes.astype(np.uint64), thumbnail)


def _base64(array: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
