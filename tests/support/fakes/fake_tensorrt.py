"""A `tensorrt` module without NVIDIA's library: each class has the names that the real bindings of a version have.

The names are read from `tests/runtime/tensorrt/tensorrt_api/*.json`, recorded from the real bindings; a name that is
not there raises AttributeError, one that is there and that nobody wrote raises NotImplementedError. What the real ones
were seen to do, this does: a subclass must call the base's `__init__`; layers come as the base class, until their
`__class__` is set; a broken timing cache becomes an empty one; without a profile a network of any batch is not built.

It shows that our calls exist, are in order and are answered. It can't show what NVIDIA's code decides: which graphs
its parser and builder refuse, which precision a kernel gets, speed, memory, numbers, or what an accelerator takes.

A plan is one line of JSON and the ONNX graph, so that a fake of the running side can run it; `World.extend` gives
classes that replace or extend those here, by name.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fake_loading import EngineInspector, ICudaEngine, IExecutionContext, Runtime
from fake_onnx_parser import IGridSampleLayer, ILayer, INetworkDefinition, ITensor, OnnxParser, ParserError
from recorded_bindings import Bound, BoundEnum, Interface, recorded, require_init


@dataclass
class World:
    """What the device and the library are like, and what was done to them.

    Attributes:
        starts: whether a Builder can be made at all.
        refused: ONNX operators that the parser refuses.
        errors: what the builder logs; with any, or cancelled, it builds nothing.
        dla_cores: cores of the accelerator.
        layers: "Layers" of the inspector's JSON, once a context with shapes is set.
        shapeless_layers: the same without one; None: as `layers`.
        loads: whether plans can be deserialised.
        extend: classes by their name in the bindings, instead of the ones here.
        config, network, inspected_shape: of the last build.
    """

    starts: bool = True
    refused: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    dla_cores: int = 0
    layers: list[Any] = field(default_factory=list)
    shapeless_layers: list[Any] | None = None
    loads: bool = True
    extend: dict[str, type] = field(default_factory=dict)
    builds: int = 0
    config: Any = None
    network: Any = None
    inspected_shape: tuple[int, ...] | None = None


class Builder(Bound):
    def __init__(self, logger: Any) -> None:
        require_init(logger, self._trt.ILogger)
        self._logger = logger
        if not self._trt._world.starts:
            self._say("CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def _say(self, message: str) -> None:
        self._logger.log(self._trt.ILogger.Severity.ERROR, message)

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802 -- the bindings' name
        return self._trt._world.dla_cores  # type: ignore[no-any-return]

    def create_network(self, flags: int = 0) -> Any:
        network = self._trt.INetworkDefinition()
        network._flags = flags
        self._trt._world.network = network
        return network

    def create_builder_config(self) -> Any:
        config = self._trt.IBuilderConfig()
        config._logger = self._logger
        self._trt._world.config = config
        return config

    def create_optimization_profile(self) -> Any:
        return self._trt.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        trt, world = self._trt, self._trt._world
        world.builds += 1
        if not self._goes_on(config):
            self._say("IBuilder::buildSerializedNetwork: Error Code 7: BuildCanceled (Build canceled by user)")
            return None
        if network._tensors and network._tensors[0].shape[0] == -1 and not config._profiles:
            self._say(
                "Error Code 4: Network has dynamic or shape inputs, but no optimization profile has been defined."
            )
            return None
        on_dla = config.default_device_type == trt.DeviceType.DLA
        if on_dla and any(len(set(shapes)) > 1 for profile in config._profiles for shapes in profile._shapes.values()):
            self._say("DLA does not support dynamic dimensions")
            return None
        for message in world.errors:
            self._say(message)
        if world.errors:
            return None
        if config._timings is not None:
            config._timings._content = (config._timings._content or trt._timing_header) + b" measured"
        profile = {name: shapes for one in config._profiles for name, shapes in one._shapes.items()}
        facts = {"version": trt.__version__, "profile": profile, "dla": on_dla}
        return trt.IHostMemory(json.dumps(facts).encode() + b"\n" + network._onnx)

    @staticmethod
    def _goes_on(config: Any) -> bool:
        monitor = config.progress_monitor
        if monitor is None:
            return True
        monitor.phase_start("Building Engine", None, 2)
        for step in range(2):
            monitor.phase_start("Tactics", "Building Engine", 3)
            if not all(monitor.step_complete("Tactics", inner) for inner in range(3)):
                return False
            monitor.phase_finish("Tactics")
            if not monitor.step_complete("Building Engine", step):
                return False
        monitor.phase_finish("Building Engine")
        return True


class IBuilderConfig(Bound):
    def __init__(self) -> None:
        trt = self._trt
        self.profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
        self.default_device_type = trt.DeviceType.GPU
        self.DLA_core = -1
        self._monitor: Any = None
        self._flags, self._pools, self._profiles = {trt.BuilderFlag.TF32}, {}, []
        self._timings: Any = None  # it then measures for itself, and keeps nothing

    @property
    def progress_monitor(self) -> Any:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: Any) -> None:
        require_init(monitor, self._trt.IProgressMonitor)
        self._monitor = monitor

    def set_flag(self, flag: Any) -> None:
        self._flags.add(self._trt.BuilderFlag(flag))

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(self._trt.BuilderFlag(flag))

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._pools[self._trt.MemoryPoolType(pool)] = pool_size

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        timings = self._trt.ITimingCache()
        timings._content = bytes(serialized_timing_cache)
        if timings._content and not timings._content.startswith(self._trt._timing_header):
            self._logger.log(self._trt.ILogger.Severity.WARNING, "Failed to deserialize timing cache.")
            timings._content = b""
        return timings

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if b"of another device" in cache._content and not ignore_mismatch:
            return False
        self._timings = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._timings


class ITimingCache(Bound):
    def __init__(self) -> None:
        self._content = b""

    def serialize(self) -> Any:
        return self._trt.IHostMemory(self._content)


class IHostMemory(Bound, bytes):
    """A buffer, as the real one is."""


class IOptimizationProfile(Bound):
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 -- the bindings' names
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]


CLASSES: tuple[type, ...] = (
    Builder,
    IBuilderConfig,
    ITimingCache,
    IHostMemory,
    IOptimizationProfile,
    INetworkDefinition,
    ITensor,
    ILayer,
    IGridSampleLayer,
    OnnxParser,
    ParserError,
    Runtime,
    ICudaEngine,
    IExecutionContext,
    EngineInspector,
)


class FakeTensorRT(types.ModuleType):
    """The module; `_world` is what it is in, and its attributes are those that were recorded."""

    def __init__(self, version: str, world: World) -> None:
        super().__init__("tensorrt")
        facts = recorded(version)
        self._world, self._timing_header = world, f"timings of {facts['version']}:".encode()
        self.__version__ = facts["version"]
        self._top = frozenset(facts["top"])
        for name, members in facts["enums"].items():
            if "." not in name:
                setattr(self, name, BoundEnum(name, members))  # type: ignore[arg-type]
        classes = {kind.__name__: kind for kind in CLASSES} | world.extend
        for name, kind in classes.items():
            if name in self._top:
                names = frozenset(facts["methods"][name]) | frozenset(facts["properties"][name])
                setattr(self, name, type(name, (kind,), {"_trt": self, "_names": names}))
        severity = BoundEnum("Severity", facts["enums"]["ILogger.Severity"])  # type: ignore[arg-type]
        self.ILogger = type("ILogger", (Interface,), {"Severity": severity, "_trt": self})
        self.IProgressMonitor = type("IProgressMonitor", (Interface,), {"_trt": self})

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_top", ()):
            raise NotImplementedError(f"the fake has no {name}")
        raise AttributeError(f"module 'tensorrt' has no attribute {name!r}")


def importer(module: Any) -> Callable[[str], Any]:
    """Return what imports the fake as `tensorrt` and nothing else."""

    def import_module(name: str) -> Any:
        if name != "tensorrt":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return module

    return import_module
