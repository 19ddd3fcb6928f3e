"""A TensorRT engine at work: tiles in, probability out, copies and computing at the same time.

Two slots take turns on three streams: into the device, computing, out of it. While one slot's tiles are computed, the
next tiles are copied in and the last answers out; events order the three. Where the library has CUDA graphs, the
engine is launched as one: after each change of the batch first layer by layer, as TensorRT asks, then captured.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from types import TracebackType
from typing import Any

import numpy as np

from kda_edge.errors import EngineError
from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME

from ..hardware.cuda import Cuda
from .batch_marks import PHASES, Marks
from .library import Library
from .loaded_engine import AGAIN, SLOTS, LoadedEngine, Slot, Tiles

_log = logging.getLogger(__name__)


class TensorRTRunner:
    """An engine on the device: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T); one thread at a time."""

    def __init__(
        self,
        plan: bytes,
        library: Library,
        cuda: Cuda,
        *,
        tile_px: int,
        dla_core: int | None = None,
        graphs: bool = True,
    ) -> None:
        """Load an engine; what was taken is given back if that fails.

        Args:
            plan: the serialised engine, built on this device by this version of TensorRT.
            library: TensorRT.
            cuda: the device; it is closed with the runner, and where loading fails.
            tile_px: of the model's manifest.
            dla_core: the core that the engine was built for; None: it uses none.
            graphs: launch by CUDA graphs where the library has them.

        Raises:
            EngineError: the engine can't be read, or is none of a student for such tiles.
            OutOfDeviceMemory: its buffers do not fit.
        """
        self._loaded = LoadedEngine(plan, library, cuda, tile_px=tile_px, dla_core=dla_core)
        self._cuda = cuda
        self._graphs = graphs and cuda.has_graphs
        self._is_busy = False

    @property
    def tile_px(self) -> int:
        """Side of a tile."""
        return self._loaded.tile_px

    @property
    def max_batch(self) -> int:
        """Most tiles that the engine computes at once; larger batches are split."""
        return self._loaded.max_batch

    def __call__(self, tiles: Tiles) -> Tiles:
        """Return the probability of each tile's pixels.

        Raises:
            EngineError: the tiles are not what the engine takes, the device failed, or the runner is closed.
            UsageError: this is a fork of the process that loaded the engine.
        """
        (answer,) = self.map([tiles])
        return answer

    def map(self, batches: Iterable[Tiles]) -> Iterator[Tiles]:
        """Yield the answer to each batch, in order; the next batch is taken and copied in while one is computed.

        Args:
            batches: (N, 3, T, T) each, N from 0 on and free to differ.

        Raises:
            EngineError: as a call does; also where an earlier `map` was not read to its end and is still held.
        """
        self._require_open()
        return self._map(batches)

    def timed(self, tiles: Tiles) -> tuple[Tiles, dict[str, float]]:
        """Return the answer and ms of `copy_in`, `compute` and `copy_out`, kept by events on the device.

        The steps are those of a call, the waits between the streams included. Filling pinned memory and reading it
        is in none of them. Of more than `max_batch` tiles each part waits for the one before, and times are added.

        Raises:
            EngineError: as a call does.
        """
        self._require_open()
        answers: list[Tiles] = []
        spent_ms = dict.fromkeys(PHASES, 0.0)
        with self._alone():
            slot, marks = self._loaded.slots[0], self._loaded.timed_marks()
            for part, _ in self._chunks([tiles]):
                if len(part):
                    pixels = self._filled(slot, part)
                    self._cuda.record(marks.started, self._loaded.into)
                    self._start(slot, pixels, len(part), marks)
                    self._cuda.synchronize(marks.answered)
                    for phase, taken_ms in marks.phases_ms(self._cuda).items():
                        spent_ms[phase] += taken_ms
                answers.append(self._read(slot, len(part)))
        return _joined(answers), spent_ms

    def close(self) -> None:
        """Wait for the device and give everything back; closing twice is no error."""
        self._loaded.close()

    def __enter__(self) -> TensorRTRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _map(self, batches: Iterable[Tiles]) -> Iterator[Tiles]:
        with self._alone():
            parts: list[Tiles] = []
            for answer, is_last in self._overlapped(self._chunks(batches)):
                parts.append(answer)
                if is_last:
                    yield _joined(parts)
                    parts = []

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the slots for one use, and leave nothing in flight where that ends early."""
        if self._is_busy:
            raise EngineError("the engine is at work on other tiles; read those to their end, or open another engine")
        self._is_busy = True
        try:
            yield
        except BaseException:  # also a reader who stops early: nothing may be left in flight
            if self._loaded.is_open:
                self._loaded.drain()
            raise
        finally:
            self._is_busy = False

    def _chunks(self, batches: Iterable[Tiles]) -> Iterator[tuple[Tiles, bool]]:
        """Yield parts that the engine takes, and whether each is its batch's last."""
        side, most = self.tile_px, self.max_batch
        for tiles in batches:
            if tiles.dtype != np.float32 or tiles.ndim != 4 or tiles.shape[1:] != (3, side, side):
                raise EngineError(
                    f"the engine takes float32 tiles (N, 3, {side}, {side}), not {tiles.dtype} {tiles.shape}; "
                    "cut the image into such tiles"
                )
            last = max(len(tiles) - 1, 0) // most
            for i in range(last + 1):
                yield tiles[i * most : (i + 1) * most], i == last

    def _overlapped(self, chunks: Iterable[tuple[Tiles, bool]]) -> Iterator[tuple[Tiles, bool]]:
        in_flight: deque[tuple[Slot, int, bool]] = deque()
        for (tiles, is_last), slot in zip(chunks, cycle(self._loaded.slots), strict=False):
            self._require_open()
            if len(tiles):
                self._submit(slot, tiles)
            in_flight.append((slot, len(tiles), is_last))
            if len(in_flight) == SLOTS:
                yield self._answer(*in_flight.popleft())
        while in_flight:
            yield self._answer(*in_flight.popleft())

    def _submit(self, slot: Slot, tiles: Tiles) -> None:
        self._start(slot, self._filled(slot, tiles), len(tiles), slot.marks)

    def _filled(self, slot: Slot, tiles: Tiles) -> Tiles:
        """Return pinned memory with the tiles; the slot's last answer was taken, so nothing of it is in use."""
        batch = max(len(tiles), self._loaded.min_batch)  # the rest is of earlier tiles, and is not looked at
        pixels = slot.image[: batch * 3 * self.tile_px**2]
        np.copyto(pixels[: tiles.size].reshape(tiles.shape), tiles)
        return pixels

    def _start(self, slot: Slot, pixels: Tiles, count: int, marks: Marks) -> None:
        """Start all that a batch needs; `count` of its answers are wanted."""
        cuda, loaded = self._cuda, self._loaded
        cuda.copy_in(slot.image_address, pixels, loaded.into)
        cuda.record(marks.arrived, loaded.into)
        cuda.wait(loaded.compute, marks.arrived)
        self._launch(slot, pixels.size // (3 * self.tile_px**2))
        cuda.record(marks.computed, loaded.compute)
        cuda.wait(loaded.out_of, marks.computed)
        cuda.copy_out(slot.probability[: count * self.tile_px**2], slot.probability_address, loaded.out_of)
        cuda.record(marks.answered, loaded.out_of)

    def _answer(self, slot: Slot, batch: int, is_last: bool) -> tuple[Tiles, bool]:
        self._require_open()
        if batch:
            self._cuda.synchronize(slot.marks.answered)
        return self._read(slot, batch), is_last

    def _read(self, slot: Slot, count: int) -> Tiles:
        answer: Tiles = slot.probability[: count * self.tile_px**2].copy()
        return answer.reshape(count, 1, self.tile_px, self.tile_px)

    def _launch(self, slot: Slot, batch: int) -> None:
        if batch != slot.batch:
            self._set_batch(slot, batch)
        if slot.graph is None and slot.is_warm and self._graphs:
            slot.graph = self._captured(slot)
        if slot.graph is None:
            self._execute(slot)
            slot.is_warm = True
        else:
            self._cuda.launch(slot.graph, self._loaded.compute)

    def _set_batch(self, slot: Slot, batch: int) -> None:
        self._loaded.drop_graph(slot)  # it was captured with the old shapes
        slot.batch, slot.is_warm = 0, False
        side = self.tile_px
        if not slot.context.set_input_shape(INPUT_NAME, (batch, 3, side, side)):
            raise EngineError(f"TensorRT refused a batch of {batch} tiles ({self._loaded.said()}); {AGAIN}")
        found = tuple(slot.context.get_tensor_shape(OUTPUT_NAME))
        if found != (batch, 1, side, side):
            raise EngineError(f"the engine answers {batch} tiles with the shape {found}; {AGAIN}")
        slot.batch = batch

    def _execute(self, slot: Slot) -> None:
        if not slot.context.execute_async_v3(self._cuda.stream_number(self._loaded.compute)):
            raise EngineError(f"TensorRT failed to compute {slot.batch} tiles ({self._loaded.said()}); {AGAIN}")

    def _captured(self, slot: Slot) -> Any:
        """Return the slot's work as a graph; None, and never again, where it can't be captured."""
        cuda, stream = self._cuda, self._loaded.compute
        try:
            cuda.begin_capture(stream)
            try:
                self._execute(slot)
            except EngineError:
                with suppress(EngineError):
                    cuda.destroy_graph(cuda.end_capture(stream))
                raise
            return cuda.end_capture(stream)
        except EngineError as error:
            self._graphs = False
            _log.warning("there is no CUDA graph of this engine, it is launched layer by layer instead: %s", error)
            return None

    def _require_open(self) -> None:
        self._loaded.process.require("the engine")
        if not self._loaded.is_open:
            raise EngineError("the engine is closed; open it again")


def _joined(parts: list[Tiles]) -> Tiles:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
