"""Tiles in OpenVINO, several at once: each on a stream of its own, so that no core waits for another at every layer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..hardware.usable_cores import usable_cores

# Tiles at once, at most. On two cores a tile on each takes 0.8 of the time of one after the other on both (float32, the
# bundled student, AVX-512). Each stream has activations of its own, so that many cost memory. Unmeasured on more cores.
MOST_STREAMS: Final = 4
CALLS_AHEAD: Final = 2  # tiles a stream in a call: while other work takes a core, the other streams have what to do


def stream_count(threads: int, *, alike: bool = False) -> int:
    """Return how many tiles are computed at once.

    Args:
        threads: of the engine; 0: its own choice.
        alike: all streams must have equally many threads: answers depend on it.
    """
    threads = threads or usable_cores()
    return 1 if alike and threads > MOST_STREAMS else min(threads, MOST_STREAMS)


class Requests:
    """A graph compiled for one tile, given any number of them.

    A tile's answer depends on nothing but the tile.

    Attributes:
        max_batch: tiles a call that it is fastest with; more are taken, and bring nothing.
    """

    def __init__(self, compiled: Any, streams: int) -> None:
        """Make the requests; `compiled` has `streams` streams, which take them as they are free."""
        self.max_batch = streams * CALLS_AHEAD if streams > 1 else 1
        self._requests = [compiled.create_infer_request() for _ in range(self.max_batch)]

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the answers (N, 1, T, T) to tiles (N, 3, T, T); not for two threads at once.

        Raises:
            Exception: OpenVINO failed; nothing is under way any more.
        """
        answers = np.empty((len(tiles), 1, *tiles.shape[2:]), np.float32)
        at_once = len(self._requests)
        try:
            for index in range(len(tiles) + at_once):
                request, before = self._requests[index % at_once], index - at_once
                if 0 <= before < len(tiles):
                    request.wait()
                    answers[before] = request.get_output_tensor(0).data[0]
                if index < len(tiles):
                    request.get_input_tensor(0).data[0] = tiles[index]
                    request.start_async()
        except BaseException:
            for request in self._requests:
                with suppress(Exception):
                    request.wait()
            raise
        return answers
