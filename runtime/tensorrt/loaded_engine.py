"""A TensorRT engine on the device with all that it needs to run: contexts, memory, streams, and their way back.

Each slot has pinned memory, memory on the device and an execution context of its own, because a CUDA graph holds for
the context, the addresses and the shape that it was captured with (TensorRT's developer guide, "CUDA Graphs"). The
contexts share their scratch memory, since they compute one after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError
from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME
from kda_edge.opening_process import OpeningProcess
from kda_edge.paths import cache_folder

from ..hardware.cuda import Cuda
from .batch_marks import Marks, TimedMarks
from .library import Library

SLOTS: Final = 2  # one computes while the other is filled and emptied
FLOAT_BYTES: Final = 4
AGAIN: Final = "export the model again with kda-export"

Tiles = NDArray[np.float32]

# All that running asks of TensorRT, by class; the same in 10.3, 10.13, 10.16 and 11.4 (a test holds it to them).
USED_TO_RUN: Final[dict[str, tuple[str, ...]]] = {
    "tensorrt": ("Runtime", "DataType", "ExecutionContextAllocationStrategy"),
    "DataType": ("FLOAT",),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
    "Runtime": ("DLA_core", "deserialize_cuda_engine"),
    "ICudaEngine": (
        "create_execution_context",
        "device_memory_size_v2",
        "get_tensor_dtype",
        "get_tensor_name",
        "get_tensor_profile_shape",
        "get_tensor_shape",
        "num_io_tensors",
    ),
    "IExecutionContext": (
        "execute_async_v3",
        "get_tensor_shape",
        "set_device_memory",
        "set_input_shape",
        "set_tensor_address",
    ),
}

_log = logging.getLogger(__name__)


@dataclass
class Slot:
    """One of the batches in flight: where its pixels and answers lie, and what stands for its three steps."""

    context: Any
    image: Tiles
    image_address: int
    probability: Tiles
    probability_address: int
    marks: Marks
    batch: int = 0  # that the context's shapes are set to
    is_warm: bool = False  # launched once with these shapes, which TensorRT needs before a capture
    graph: Any = None

    def forget(self) -> None:
        """Let go of what is about to be given back; a reader who was stopped midway may still hold the slot."""
        self.context = None
        self.marks.forget()
        self.image = self.probability = np.empty(0, np.float32)


class LoadedEngine:
    """A student's engine, its slots and its streams.

    Attributes:
        cuda: the device.
        tile_px: side of a tile.
        min_batch: fewest tiles that the engine computes at once.
        max_batch: most of them.
        slots: `SLOTS` of them.
        into: the stream of copies to the device.
        compute: the stream of the engine.
        out_of: the stream of copies from the device.
        process: that loaded it, and alone may use the device's memory.
    """

    def __init__(self, plan: bytes, library: Library, cuda: Cuda, *, tile_px: int, dla_core: int | None = None) -> None:
        """Load an engine; what was taken is given back if that fails.

        Args:
            plan: the serialised engine, built on this device by this version of TensorRT.
            library: TensorRT.
            cuda: the device; it is closed with the engine, and where loading fails.
            tile_px: of the model's manifest.
            dla_core: the core that the engine was built for; None: it uses none.

        Raises:
            EngineError: the engine can't be read, or is none of a student for such tiles.
            OutOfDeviceMemory: its buffers do not fit.
        """
        self._library, self.cuda, self.tile_px = library, cuda, tile_px
        self.process = OpeningProcess(self)
        self._resources: ExitStack | None = None
        self._timed_marks: TimedMarks | None = None
        self.slots: list[Slot] = []
        with ExitStack() as stack:
            self._give_back(stack, cuda.close)
            stack.callback(self._forget_streams)  # pycuda destroys a stream with its last reference
            self.into, self.compute, self.out_of = (self._stream(stack) for _ in range(3))
            self._runtime = library.trt.Runtime(library.logger)
            stack.callback(setattr, self, "_runtime", None)
            if dla_core is not None:
                self._runtime.DLA_core = dla_core
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise EngineError(
                    f"TensorRT {library.version} can't read the engine ({self.said()}); delete it from the cache "
                    f"({cache_folder()}), so that it is built again"
                )
            stack.callback(setattr, self, "_engine", None)
            self.min_batch, self.max_batch = self._checked_batches()
            scratch_bytes = int(self._engine.device_memory_size_v2)
            scratch = self._device(stack, scratch_bytes) if scratch_bytes else 0
            stack.callback(self.slots.clear)
            for _ in range(SLOTS):
                self.slots.append(self._slot(stack, scratch, scratch_bytes))
            stack.callback(self.drain)
            self._resources = stack.pop_all()

    @property
    def is_open(self) -> bool:
        """Whether the engine can be used."""
        return self._resources is not None

    def close(self) -> None:
        """Wait for the device, then give back graphs, contexts, memory, engine and streams; twice is no error.

        In a fork of the process that loaded it this does nothing.
        """
        if self._resources is not None and self.process.is_this:
            resources, self._resources = self._resources, None
            resources.close()

    def timed_marks(self) -> TimedMarks:
        """Return marks that keep the time; made when they are first asked for, and given back with the rest."""
        assert self._resources is not None
        if self._timed_marks is None:
            with ExitStack() as stack:
                self._timed_marks = marks = TimedMarks(*(self._event(stack, self.cuda.timed_event) for _ in range(4)))
                stack.callback(marks.forget)
                self._resources.push(stack.pop_all())
        return self._timed_marks

    def drain(self) -> None:
        """Wait until nothing is in flight; on a device that is lost, and in a fork, nothing is."""
        if not self.process.is_this:
            return
        for stream in (self.into, self.compute, self.out_of):
            with suppress(EngineError):
                self.cuda.drain(stream)

    def drop_graph(self, slot: Slot) -> None:
        """Give back a slot's graph, if it has one."""
        if slot.graph is not None:
            graph, slot.graph = slot.graph, None
            self.cuda.destroy_graph(graph)

    def said(self) -> str:
        """Return what TensorRT logged last as an error."""
        return self._library.last_error or "it gave no reason"

    def _checked_batches(self) -> tuple[int, int]:
        """Hold the engine to what a student's is, and return the fewest and the most tiles that it takes."""
        engine, side = self._engine, self.tile_px
        names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
        shapes = {name: tuple(engine.get_tensor_shape(name)) for name in sorted(names)}
        expected = {INPUT_NAME: (3, side, side), OUTPUT_NAME: (1, side, side)}
        is_float = all(engine.get_tensor_dtype(name) == self._library.trt.DataType.FLOAT for name in names)
        if names != set(expected) or not is_float or any(shapes[n][1:] != rest for n, rest in expected.items()):
            raise EngineError(f"the engine takes and gives {shapes}, which is no student for {side} px tiles; {AGAIN}")
        batch = shapes[INPUT_NAME][0]
        if batch > 0:
            return batch, batch
        shortest, _, longest = engine.get_tensor_profile_shape(INPUT_NAME, 0)
        return int(shortest[0]), int(longest[0])

    def _slot(self, stack: ExitStack, scratch: int, scratch_bytes: int) -> Slot:
        tile = self.max_batch * self.tile_px**2
        image, probability = (self._pinned(stack, floats) for floats in (3 * tile, tile))
        addresses = [self._device(stack, floats * FLOAT_BYTES) for floats in (3 * tile, tile)]
        marks = Marks(*(self._event(stack, self.cuda.event) for _ in range(3)))
        strategy = self._library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise EngineError(
                f"TensorRT can't prepare the engine to run ({self.said()}); free some of the device's memory"
            )
        slot = Slot(context, image, addresses[0], probability, addresses[1], marks)
        stack.callback(slot.forget)
        self._give_back(stack, self.drop_graph, slot)
        if scratch_bytes:
            context.set_device_memory(scratch, scratch_bytes)
        for name, address in zip((INPUT_NAME, OUTPUT_NAME), addresses, strict=True):
            if not context.set_tensor_address(name, address):
                raise EngineError(f"TensorRT refused the memory for {name} ({self.said()}); {AGAIN}")
        return slot

    def _stream(self, stack: ExitStack) -> Any:
        stream = self.cuda.stream()
        self._give_back(stack, self.cuda.destroy_stream, stream)
        return stream

    def _forget_streams(self) -> None:
        self.into = self.compute = self.out_of = None

    def _event(self, stack: ExitStack, make: Callable[[], Any]) -> Any:
        event = make()
        self._give_back(stack, self.cuda.destroy_event, event)
        return event

    def _device(self, stack: ExitStack, size_bytes: int) -> int:
        address = self.cuda.device(size_bytes)
        self._give_back(stack, self.cuda.free_device, address)
        return address

    def _pinned(self, stack: ExitStack, floats: int) -> Tiles:
        array = self.cuda.pinned(floats)
        self._give_back(stack, self.cuda.free_pinned, array)
        return array

    def _give_back(self, stack: ExitStack, free: Callable[..., None], *arguments: Any) -> None:
        """Have `free` called at the end; where the device is lost, that is said and the rest is given back still."""

        def quietly() -> None:
            try:
                free(*arguments)
            except EngineError as error:
                _log.warning("the device did not take back all that an engine held: %s", error)

        stack.callback(quietly)
