"""The key of a cached TensorRT engine: all that it depends on. One built for anything else is never loaded."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..hardware.gpu_probe import Device
    from .build import BuildOptions


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on; one built for another key is not used.

    Attributes:
        graph_sha256: of the ONNX graph, 64 hexadecimal digits.
        device_name, compute_capability, driver_version: as in `Device`.
        tensorrt_version: of the library that builds and loads it.
        opt_batch, max_batch, dla_core: as in `BuildOptions`.
    """

    graph_sha256: str
    device_name: str
    compute_capability: tuple[int, int]
    driver_version: str
    tensorrt_version: str
    opt_batch: int = 1
    max_batch: int = 1
    dla_core: int | None = None

    def __post_init__(self) -> None:
        texts: tuple[object, ...] = (self.device_name, self.driver_version, self.tensorrt_version)
        capability: tuple[object, ...] = self.compute_capability
        counts: tuple[object, ...] = (*capability, self.opt_batch, self.max_batch, self.dla_core or 0)
        if (
            not re.fullmatch("[0-9a-f]{64}", self.graph_sha256)
            or not all(isinstance(text, str) and text for text in texts)
            or len(capability) != 2
            or not all(isinstance(count, int) and count >= 0 for count in counts)
        ):
            raise ValueError(f"not an engine's key: {self!r}")

    @property
    def folder_name(self) -> str:
        """Name of the engine's folder; versions are not in it, so that an upgrade replaces the engine."""
        device = re.sub(r"[^a-z0-9]+", "-", self.device_name.lower()).strip("-")[:40]
        dla = "" if self.dla_core is None else f"-dla{self.dla_core}"
        return f"{self.graph_sha256[:16]}-{device}-b{self.opt_batch}-{self.max_batch}{dla}"

    def said(self) -> dict[str, str]:
        """What it depends on, in words for a person."""
        return {
            "graph_sha256": f"of the graph {self.graph_sha256[:12]}",
            "device_name": f"on {self.device_name}",
            "compute_capability": f"for compute capability {'.'.join(map(str, self.compute_capability))}",
            "driver_version": f"with a driver for CUDA {self.driver_version}",
            "tensorrt_version": f"with TensorRT {self.tensorrt_version}",
            "opt_batch": f"tuned for {self.opt_batch} tiles a call",
            "max_batch": f"for up to {self.max_batch} tiles a call",
            "dla_core": "without DLA" if self.dla_core is None else f"for DLA core {self.dla_core}",
        }

    def differs_from(self, other: EngineKey) -> str:
        """Say what an engine was built for and is not asked for now, as the end of a sentence; empty: nothing."""
        mine, theirs = asdict(self), asdict(other)
        names = [name for name in mine if mine[name] != theirs[name]]
        if not names:
            return ""
        was, now = self.said(), other.said()
        return f"was built {', '.join(was[n] for n in names)} and this is {', '.join(now[n] for n in names)}"

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> EngineKey:
        """Return the key that `asdict` and JSON were made of.

        Raises:
            ValueError, TypeError: it is none.
        """
        if set(content) != {known.name for known in fields(cls)}:
            raise ValueError("other fields than a key has")
        return cls(**{**content, "compute_capability": tuple(content["compute_capability"])})


def engine_key(graph_sha256: str, device: Device, tensorrt_version: str, options: BuildOptions) -> EngineKey:
    """Return what an engine of this graph for this device depends on; workspace and timings change no result."""
    return EngineKey(
        graph_sha256,
        device.name,
        device.compute_capability,
        device.driver_version,
        tensorrt_version,
        options.opt_batch,
        options.max_batch,
        options.dla_core,
    )
