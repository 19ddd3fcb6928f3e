"""Runs over one scene that are killed and begun again, with an engine that says how often it was asked.

They run under pressure: GDAL's cache holds few blocks, and threads that read the scene, over and over, take them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kda_edge.manifest import Manifest
from kda_edge.runtime.geo import gdal
from kda_edge.runtime.runs.journal import read_journal
from kda_edge.runtime.scene_options import SceneOptions
from kda_edge.runtime.segmenter import Segmenter

CACHE_BYTES = 3 * 2**16  # three blocks of a map
READERS = 2  # threads


def sloped(tiles: np.ndarray) -> np.ndarray:
    """Probability that depends on the place in the tile too, so that blending shows."""
    slope = np.linspace(0.5, 1, tiles.shape[-1], dtype=np.float32)
    return tiles[:, :1] / np.float32(255) * slope * slope[:, None]


def counting(log: Path, delay_s: float) -> Callable[[np.ndarray], np.ndarray]:
    """The sloped engine, slowed down; each tile that it answers is a byte in the log, also if it is killed then."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def engine(tiles: np.ndarray) -> np.ndarray:
        time.sleep(delay_s * len(tiles))
        os.write(descriptor, b"." * len(tiles))
        return sloped(tiles)

    return engine


class Runs:
    """Starts runs in processes of their own, forked from one that has done the imports once."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, manifest: Manifest, scene: Path, out: Path, log: Path, delay_s: float, **options: Any) -> int:
        """Start mapping a scene; return the number of the process."""
        assert self._parent.stdin is not None
        order = (manifest.to_json(), str(scene), str(out), str(log), delay_s, options)
        print(json.dumps(order), file=self._parent.stdin, flush=True)
        return self._said()

    def ended(self) -> int:
        """Wait for the process started last; return its exit code, below 0 for a signal."""
        return os.waitstatus_to_exitcode(self._said())

    def close(self) -> None:
        """End the process that forks."""
        self._parent.communicate()

    def _said(self) -> int:
        assert self._parent.stdout is not None
        return int(self._parent.stdout.readline())


def rows_kept(journal: Path) -> int:
    """Rows that a cut-off run has recorded."""
    if not journal.exists():
        return 0
    with read_journal(journal) as kept:
        return kept.rows_px


def _press(scene: str) -> None:
    """Read a scene for ever."""
    with gdal.gdal_session():
        while True:
            with gdal.open_raster(Path(scene)) as dataset:
                dataset.read()


def _fork_what_is_asked_for() -> None:
    for line in sys.stdin:
        manifest, scene, out, log, delay_s, options = json.loads(line)
        pid = os.fork()
        if pid == 0:
            gdal.CACHE_BYTES = CACHE_BYTES  # type: ignore[misc]
            for _ in range(READERS):
                threading.Thread(target=_press, args=(scene,), daemon=True).start()
            segmenter = Segmenter(counting(Path(log), delay_s), Manifest.from_json(manifest))
            segmenter.predict_scene(scene, out, SceneOptions(**options))
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    _fork_what_is_asked_for()
