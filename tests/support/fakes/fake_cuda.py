"""A GPU that is not there: it queues what it is told and does it as late as the rules of CUDA allow.

`SimulatedGpu` holds memory, streams, events and graphs; `fake_cuda_libraries` puts `cuda.bindings.runtime` and
`pycuda.driver` on it, `fake_tensorrt_run` the half of TensorRT that runs engines. Nothing is executed before somebody
waits for it, and then only what that needs, so what is read too early is still NaN. Besides, every access to memory is
compared with earlier ones by vector clocks: two that touch the same memory, one of them writing, must be ordered by a
stream, by an event or by the host's waiting, whatever the order that happens to come.

A `Fault` (no error of CUDA, but a mistake that a real device may or may not punish) is raised where it is made and
kept, since a destructor may swallow it: copying unpinned memory, touching what was freed, what was never allocated or
what is too small, writing pinned memory that is still to be copied, unordered accesses, freeing twice or what is in
use, launching a graph whose context was changed since, waiting inside a capture. `require_clean` finds leaks.

Time passes only as told: `now_ms` by what copies and kernels are said to take, one after the other, and by waiting.

What this can't show: that a kernel computes what its engine should, any real duration or overlap, what a driver does
under memory pressure, that TensorRT accepts a call that this fake accepts, and races inside one operation.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

HOST = "host"
Clock = dict[str, int]


class Fault(AssertionError):
    """A mistake in the use of the device."""


@dataclass(eq=False)
class Allocation:
    """Memory; `accesses` are those that nothing later has superseded: actor, its tick, whether it writes."""

    kind: str
    address: int
    data: np.ndarray
    is_freed: bool = False
    accesses: list[tuple[str, int, bool]] = field(default_factory=list)


@dataclass
class Touch:
    """What an operation does to memory."""

    address: int
    size: int
    writes: bool
    kind: str = "device"


@dataclass
class Work:
    """An operation in a stream: what it touches and does; or a wait for `until` in another stream."""

    touches: list[Touch] = field(default_factory=list)
    run: Callable[[], None] = lambda: None
    until: tuple[FakeStream, int] | None = None


@dataclass(eq=False)
class FakeStream:
    """A queue; `done` of its `works` were executed."""

    name: str
    works: list[Work] = field(default_factory=list)
    done: int = 0
    clock: Clock = field(default_factory=dict)
    captured: list[FakeGraphNode] | None = None


@dataclass(eq=False)
class FakeEvent:
    """A mark: of which stream, after how many works, and what was ordered before it."""

    stream: FakeStream | None = None
    position: int = 0
    clock: Clock = field(default_factory=dict)
    keeps_time: bool = False
    at_ms: float | None = None  # when it happened


@dataclass
class FakeGraphNode:
    """A captured launch: `check` says what is wrong with launching it now, empty if nothing is."""

    work: Work
    check: Callable[[], str]


def joined(*clocks: Clock) -> Clock:
    return {actor: max(clock.get(actor, 0) for clock in clocks) for actor in {a for clock in clocks for a in clock}}


class SimulatedGpu:
    """The device; `log` names what was done, in order of being told, for tests of that order."""

    def __init__(self) -> None:
        self.allocations: list[Allocation] = []
        self.streams: list[FakeStream] = []
        self.events: list[FakeEvent] = []
        self.graphs: list[list[FakeGraphNode]] = []
        self.live: weakref.WeakSet[Any] = weakref.WeakSet()  # objects of bindings that free by being dropped
        self.faults: list[str] = []
        self.log: list[str] = []
        self.host_clock: Clock = {HOST: 0}
        self.refuses_capture = False
        self.kernels_run = 0
        self.busy_ms = 0.0  # what engines say that they took
        self.now_ms = 0.0
        self.copy_in_ms = self.copy_out_ms = self.wait_ms = 0.0  # that each copy, and each waiting, is to take
        self._next_address = 1 << 40
        self._streams_made = 0

    # Faults

    def fault(self, text: str) -> Fault:
        self.faults.append(text)
        return Fault(text)

    def require_clean(self) -> None:
        """Find what was left behind."""
        if self.live:
            gc.collect()  # an exception that is held may keep frames, and those what they used
        left = [f"{a.kind} memory of {a.data.nbytes} bytes" for a in self.allocations if not a.is_freed]
        left += ["a stream"] * len(self.streams) + ["an event"] * len(self.events) + ["a graph"] * len(self.graphs)
        left += [type(thing).__name__ for thing in self.live]
        assert not left, f"leaked: {', '.join(left)}"
        assert not self.faults, self.faults

    # Memory

    def allocate(self, kind: str, size: int) -> Allocation:
        data = np.full(-(-size // 4) * 4, 0xFF, np.uint8)  # NaN as float32
        address = data.ctypes.data if kind == "pinned" else self._next_address
        self._next_address += (size // 256 + 16) * 256
        self.allocations.append(Allocation(kind, address, data[:size]))
        return self.allocations[-1]

    def free(self, kind: str, address: int) -> None:
        found = [a for a in self.allocations if a.kind == kind and a.address == address]
        if not found or all(a.is_freed for a in found):
            raise self.fault(f"{kind} memory freed twice or never allocated")
        for stream in self.streams:
            for work in stream.works[stream.done :]:
                if any(self.at(touch) is found[-1] for touch in work.touches):
                    raise self.fault(f"{kind} memory freed while {stream.name} has yet to use it")
        self.log.append(f"free {kind}")
        found[-1].is_freed = True

    def at(self, touch: Touch) -> Allocation:
        """Return the memory that is touched."""
        for a in reversed(self.allocations):
            if a.kind == touch.kind and a.address <= touch.address < a.address + max(a.data.nbytes, 1):
                if a.is_freed:
                    raise self.fault(f"freed {touch.kind} memory is used")
                if touch.address + touch.size > a.address + a.data.nbytes:
                    raise self.fault(f"{touch.size} bytes are touched where {touch.kind} memory is smaller")
                return a
        raise self.fault(f"an address is used that is no {touch.kind} memory")

    def bytes_at(self, touch: Touch) -> np.ndarray:
        a = self.at(touch)
        start = touch.address - a.address
        return a.data[start : start + touch.size]

    # Order

    def enqueue(self, stream: FakeStream, work: Work) -> None:
        """Queue an operation, after looking for earlier ones that nothing orders before it."""
        self.require_stream(stream)
        clock = joined(stream.clock, self.host_clock)
        clock[stream.name] = clock.get(stream.name, 0) + 1
        stream.clock = clock
        for touch in work.touches:
            a = self.at(touch)
            for actor, tick, wrote in a.accesses:
                if (wrote or touch.writes) and clock.get(actor, 0) < tick:
                    raise self.fault(f"{stream.name} uses {a.kind} memory while {actor} may still use it")
            if touch.writes:
                a.accesses.clear()
            a.accesses.append((stream.name, clock[stream.name], touch.writes))
        stream.works.append(work)

    def record(self, event: FakeEvent, stream: FakeStream) -> None:
        self.require_stream(stream)
        event.stream, event.position = stream, len(stream.works)
        event.clock = joined(stream.clock, self.host_clock)
        if event.keeps_time:
            event.at_ms = None
            stream.works.append(Work(run=lambda: setattr(event, "at_ms", self.now_ms)))
            event.position += 1

    def elapsed_ms(self, start: FakeEvent, end: FakeEvent) -> float | str:
        """Return the time between two events, or why there is none."""
        if not (start.keeps_time and end.keeps_time) or start.stream is None or end.stream is None:
            return "invalid resource handle"
        return "not ready" if start.at_ms is None or end.at_ms is None else end.at_ms - start.at_ms

    def wait(self, stream: FakeStream, event: FakeEvent) -> None:
        if event.stream is not None:  # waiting for what was never recorded is no wait
            stream.clock = joined(stream.clock, event.clock)
            stream.works.append(Work(until=(event.stream, event.position)))

    def run_to(self, stream: FakeStream, position: int) -> None:
        """Execute a stream up to a position, and of others what that waits for."""
        while stream.done < position:
            work = stream.works[stream.done]
            if work.until is not None:
                self.run_to(*work.until)
            for touch in work.touches:
                self.at(touch)
            work.run()
            stream.done += 1

    def synchronize(self, event: FakeEvent) -> None:
        if event.stream is not None:
            self._require_no_capture()
            self.run_to(event.stream, event.position)
            self.host_clock = joined(self.host_clock, event.clock)
            self.now_ms += self.wait_ms

    def drain(self, stream: FakeStream) -> None:
        self.require_stream(stream)
        self._require_no_capture()
        self.run_to(stream, len(stream.works))
        self.host_clock = joined(self.host_clock, stream.clock)

    def _require_no_capture(self) -> None:
        if any(stream.captured is not None for stream in self.streams):
            raise self.fault("waiting while a graph is captured")

    def require_stream(self, stream: FakeStream) -> None:
        if stream not in self.streams:
            raise self.fault("a destroyed stream is used")

    # Operations

    def copy_in(self, address: int, source: int, size: int, stream: FakeStream) -> None:
        pinned, device = Touch(source, size, False, "pinned"), Touch(address, size, True)
        pixels = self.bytes_at(pinned)
        as_told = pixels.copy()

        def run() -> None:
            if not np.array_equal(pixels, as_told):
                raise self.fault("pinned memory was written before it was copied to the device")
            self.bytes_at(device)[:] = pixels
            self.now_ms += self.copy_in_ms

        self.log.append("copy in")
        self.enqueue(stream, Work([pinned, device], run))

    def copy_out(self, target: int, address: int, size: int, stream: FakeStream) -> None:
        pinned, device = Touch(target, size, True, "pinned"), Touch(address, size, False)
        answer = self.bytes_at(pinned)

        def run() -> None:
            np.copyto(answer, self.bytes_at(device))
            self.now_ms += self.copy_out_ms

        self.log.append("copy out")
        self.enqueue(stream, Work([pinned, device], run))
        answer[:] = 0xFF  # undefined until the copy is done

    def launch(self, stream: FakeStream, work: Work, check: Callable[[], str]) -> None:
        """Queue a kernel, or note it down for a graph."""
        if stream.captured is not None:
            stream.captured.append(FakeGraphNode(work, check))
            return
        self.log.append("compute")
        self.enqueue(stream, work)

    def launch_graph(self, graph: list[FakeGraphNode], stream: FakeStream) -> None:
        if not any(graph is known for known in self.graphs):
            raise self.fault("a destroyed graph is launched")
        self.log.append("launch")
        for node in graph:
            if node.check():
                raise self.fault(node.check())
            self.enqueue(stream, Work(node.work.touches, node.work.run))

    def new_stream(self) -> FakeStream:
        self._streams_made += 1
        self.streams.append(FakeStream(f"stream {self._streams_made}"))
        return self.streams[-1]

    def destroy(self, kind: str, handles: list[Any], handle: Any) -> None:
        at = [i for i, known in enumerate(handles) if known is handle]
        if not at:
            raise self.fault(f"{kind} destroyed twice or never made")
        if isinstance(handle, FakeStream) and handle.done < len(handle.works):
            raise self.fault("a stream is destroyed with work left in it")
        self.log.append(f"destroy {kind}")
        del handles[at[0]]


def touched(floats: Iterable[tuple[int, int, bool]]) -> list[Touch]:
    """Return touches of device memory from (address, floats, writes)."""
    return [Touch(address, 4 * count, writes) for address, count, writes in floats]
