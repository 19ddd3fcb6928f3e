"""What an engine's parity depends on: graph, device, driver, libraries and the processor that it is compared with."""

from __future__ import annotations

import hashlib
from importlib import metadata
from typing import Final

import onnxruntime

from kda_edge import __version__
from kda_edge.machine import machine_facts
from kda_edge.manifest import Manifest

from ..hardware.gpu_probe import Device

# Packages of libraries that compute for an engine; where a system brings its own, its driver tells them apart.
LIBRARIES: Final = ("cuda-", "nvidia-cu", "nvidia-cudnn", "onnxruntime", "tensorrt")


def depends_on(
    engine: str, graph_sha256: str, manifest: Manifest, device: Device, driver: str, **more: str
) -> dict[str, str]:
    """Return all that the answers of an engine, and what is allowed of them, depend on.

    Args:
        engine: one of `GPU_ENGINES`.
        graph_sha256: digest of the graph that it runs.
        manifest: of the model, whose certificate has the budget.
        device: that it runs on.
        driver: release of the driver, empty where nobody knows; its CUDA is the device's.
        more: facts of the engine's own, by name.
    """
    facts = machine_facts(())
    return {
        "engine": engine,
        "graph_sha256": graph_sha256,
        "manifest_sha256": hashlib.sha256(manifest.to_json().encode()).hexdigest(),
        "gpu": device.name,
        "gpu_compute_capability": ".".join(map(str, device.compute_capability)),
        "gpu_driver": driver,
        "gpu_driver_cuda": device.driver_version,
        "onnxruntime": onnxruntime.__version__,
        "kda-edge": __version__,
        **{name: facts[name] for name in ("processor", "instructions")},
        **_libraries(),
        **more,
    }


def against_cpu() -> str:
    """Return what engines are compared with here, in words."""
    return f"ONNX Runtime {onnxruntime.__version__} on the CPU ({machine_facts(())['processor']})"


def _libraries() -> dict[str, str]:
    """Return the versions of the libraries that are installed as packages."""
    named = {(found.metadata["Name"] or "").lower(): found.version for found in metadata.distributions()}
    return {name: version for name, version in sorted(named.items()) if name.startswith(LIBRARIES)}
