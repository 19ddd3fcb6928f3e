"""The half of TensorRT that runs engines, on a simulated device, in the generations whose bindings were recorded.

An engine of this fake answers with `offset + scale * (red + 2 green + 4 blue)` of each pixel, or, where its plan holds
an ONNX graph, with what `FakeTensorrt.computes` makes of that. Its objects have the
names that the recorded bindings of a version have and no others. A context that was given no shape, no address or no
scratch memory does not run; it takes a capture only after a plain launch with its present shapes, as the guide asks.
"""

from __future__ import annotations

import base64
import enum
import json
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from fake_cuda import SimulatedGpu, Touch, Work, touched
from places import ROOT

RECORDED = ROOT / "tests/runtime/tensorrt/tensorrt_api"
VERSIONS = ("10.3.0", "10.13.3", "10.16.1", "11.4.0")


def recorded_names(version: str) -> dict[str, set[str]]:
    """Return the names of each class, of each enumeration and, as `tensorrt`, of the module of a version."""
    facts = json.loads((RECORDED / f"{version}.json").read_text())
    names = {"tensorrt": set(facts["top"])} | {kind: set(members) for kind, members in facts["enums"].items()}
    for part in ("methods", "properties"):
        for kind, found in facts[part].items():
            names[kind] = names.get(kind, set()) | set(found)
    return names


class FakeLogger:
    """The process's logger for TensorRT, as `tensorrt.library` has one."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=20)


def plan_of(tile_px: int = 8, **facts: Any) -> bytes:
    """Return a serialised engine.

    Args:
        tile_px: side of its tiles.
        facts: any of scale, offset, batches (of its profile), batch (a fixed one), scratch (bytes), names (of its
            tensors), half (the tensor that is one), cost_ms (that the device is busy for), graph (ONNX in base64).
    """
    return json.dumps({"tile_px": tile_px, **facts}).encode()


def expected(tiles: np.ndarray, *, scale: float = 1e-3, offset: float = 0.0) -> np.ndarray:
    """What an engine of `plan_of` answers, in float64."""
    wide = tiles.astype(np.float64)
    return offset + scale * (wide[:, :1] + 2 * wide[:, 1:2] + 4 * wide[:, 2:3])


class _Bound:
    """An object of the bindings; attributes without an underscore must be among the recorded ones."""

    KIND = ""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "KIND":
            trt = object.__getattribute__(self, "_trt")
            if name not in trt.recorded[object.__getattribute__(self, "KIND")]:
                raise AttributeError(f"{self.KIND} of TensorRT {trt.__version__} has no {name}")
        return object.__getattribute__(self, name)


class FakeTensorrt:
    """The module `tensorrt` of a version.

    Attributes:
        recorded: names of each class that may be used.
        gives: methods that fail, by name: what they return instead.
        computes: the answers (N, 1, T, T) of an ONNX graph to tiles (N, 3, T, T).
    """

    class DataType(enum.Enum):
        FLOAT = 0
        HALF = 1

    class ExecutionContextAllocationStrategy(enum.Enum):
        STATIC = 0
        ON_PROFILE_CHANGE = 1
        USER_MANAGED = 2

    def __init__(self, gpu: SimulatedGpu, streams: Any, version: str = "10.3.0") -> None:
        """Put TensorRT on a device; `streams.of` tells the stream of a number."""
        self.__version__ = version
        self.recorded = recorded_names(version)
        self._gpu, self._streams = gpu, streams
        self.gives: dict[str, Any] = {}
        self.computes: Callable[[bytes, np.ndarray], np.ndarray] | None = None
        self.Runtime = lambda logger: FakeTrtRuntime(self, logger)


class FakeTrtRuntime(_Bound):
    KIND = "Runtime"

    def __init__(self, trt: FakeTensorrt, logger: FakeLogger) -> None:
        self._trt, self._logger = trt, logger
        self.DLA_core = -1
        trt._gpu.live.add(self)

    def __del__(self) -> None:
        self._trt._gpu.log.append("drop runtime")

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        try:
            facts = json.loads(plan)
        except ValueError:
            self._logger.errors.append("IRuntime::deserializeCudaEngine: Error Code 1: Serialization")
            return None
        return FakeEngine(self._trt, self._logger, facts)


class FakeEngine(_Bound):
    KIND = "ICudaEngine"

    def __init__(self, trt: FakeTensorrt, logger: FakeLogger, facts: dict[str, Any]) -> None:
        self._trt, self._logger, self._facts = trt, logger, facts
        self._names = facts.get("names", ["image", "probability"])
        self._batches = facts.get("batches", [1, 1, 4])
        self.num_io_tensors = len(self._names)
        self.device_memory_size_v2 = facts.get("scratch", 1024)
        trt._gpu.live.add(self)

    def __del__(self) -> None:
        self._trt._gpu.log.append("drop engine")

    def _shape(self, name: str, batch: int) -> tuple[int, ...]:
        side = self._facts["tile_px"]
        return (batch, 3 if name == self._names[0] else 1, side, side)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape(name, self._facts.get("batch", -1))

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.DataType.HALF if self._facts.get("half") == name else self._trt.DataType.FLOAT

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        return [self._shape(name, batch) for batch in self._batches]

    def create_execution_context(self, strategy: Any = None) -> Any:
        if "create_execution_context" in self._trt.gives:
            return self._trt.gives["create_execution_context"]
        return FakeContext(self, strategy)


class FakeContext(_Bound):
    KIND = "IExecutionContext"

    def __init__(self, engine: FakeEngine, strategy: Any) -> None:
        self._trt, self._engine, self._logger = engine._trt, engine, engine._logger
        self._gpu = engine._trt._gpu
        is_ours = strategy == self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._scratch: tuple[int, int] | None = (0, 0) if not is_ours else None
        self._addresses: dict[str, int] = {}
        self._batch = engine._facts.get("batch", 0)
        self._changes = 0  # of what a graph would hold
        self._launched_at = -1
        self._gpu.live.add(self)

    def __del__(self) -> None:
        self._gpu.log.append("drop context")

    def set_device_memory(self, memory: int, size: int) -> None:
        self._scratch, self._changes = (memory, size), self._changes + 1

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        self._changes += 1
        return bool(self._trt.gives.get("set_tensor_address", True))

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine._batches
        fixed = self._engine._facts.get("batch")
        takes = shape[0] == fixed if fixed else least <= shape[0] <= most
        if not takes or tuple(shape) != self._engine._shape(name, shape[0]):
            self._logger.errors.append("IExecutionContext::setInputShape: Error Code 3: shape outside the profile")
            return False
        self._batch, self._changes = shape[0], self._changes + 1
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._trt.gives.get("get_tensor_shape", self._engine._shape(name, self._batch))

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream, engine = self._trt._streams.of(stream_handle), self._engine
        self._gpu.require_stream(stream)
        size = engine.device_memory_size_v2
        if self._batch == 0 or set(self._addresses) != set(engine._names) or self._scratch is None:
            raise self._gpu.fault("a context runs without a shape, an address or scratch memory")
        if not self._trt.gives.get("execute_async_v3", True):
            self._logger.errors.append("IExecutionContext::enqueueV3: Error Code 1: Cask (no kernel image)")
            return False
        is_captured = stream.captured is not None
        if is_captured and self._launched_at != self._changes:
            self._logger.errors.append("IExecutionContext::enqueueV3: operation not permitted when stream is capturing")
            return False
        source, target = (self._addresses[name] for name in engine._names)
        pixels = engine._facts["tile_px"] ** 2 * self._batch
        touches = touched([(source, 3 * pixels, False), (target, pixels, True)])
        if self._scratch[1]:
            if self._scratch[1] < size:
                raise self._gpu.fault("the scratch memory is smaller than the engine needs")
            touches.append(Touch(self._scratch[0], self._scratch[1], True))
        gpu, facts, batch, computes = self._gpu, engine._facts, self._batch, self._trt.computes
        scale, offset = np.float32(facts.get("scale", 1e-3)), np.float32(facts.get("offset", 0.0))

        def run() -> None:
            image = gpu.bytes_at(touches[0]).view(np.float32).reshape(batch, 3, facts["tile_px"], facts["tile_px"])
            if "graph" in facts:
                assert computes is not None
                answer = computes(base64.b64decode(facts["graph"]), image.copy())
            else:
                answer = offset + scale * (image[:, 0] + 2 * image[:, 1] + 4 * image[:, 2])
            gpu.bytes_at(touches[1]).view(np.float32)[:] = answer.ravel()
            gpu.kernels_run += 1
            gpu.busy_ms += facts.get("cost_ms", 0.0)
            gpu.now_ms += facts.get("cost_ms", 0.0)

        state, context = self._changes, weakref.ref(self)

        def check() -> str:
            now = context()
            return "" if now is not None and now._changes == state else "a graph is launched whose context has changed"

        gpu.launch(stream, Work(touches, run), check)
        if not is_captured:
            self._launched_at = self._changes
        return True
