"""The machine, GPU, packages and model that a result was measured on."""

from __future__ import annotations

import dataclasses
import json
import sys
from importlib import metadata
from typing import Any, Final

import onnxruntime

from kda_edge import __version__
from kda_edge.errors import DeviceError
from kda_edge.machine import machine_facts
from kda_edge.runtime.engines.artifact import Artifact
from kda_edge.runtime.hardware.gpu_probe import probe
from kda_edge.tiling.tile_answers import EngineFacts

# Whichever of these is installed can change a figure.
PACKAGES: Final = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python-headless", "rasterio", "openvino", "tensorrt"),
    *("cuda-bindings", "pycuda", "torch", "monai"),
)


def model_facts(artifact: Artifact) -> dict[str, Any]:
    """Return what a result tells of a model: which graph it was, and whether its certificate holds."""
    manifest, certificate = artifact.manifest, artifact.manifest.certificate
    return {
        "file": artifact.path.name,
        "graph_sha256": artifact.graph_sha256,
        "checkpoint_sha256": manifest.checkpoint_sha256,
        "variant": manifest.variant,
        "parameters": manifest.parameters,
        "tile_px": manifest.tile_px,
        "precision": manifest.precision,
        "target": manifest.target,
        "package_version": manifest.package_version,
        "verified": not artifact.doubt,
        "doubt": artifact.doubt,
        "certificate": None if certificate is None else dataclasses.asdict(certificate),
    }


def engine_parity(facts: EngineFacts) -> dict[str, Any]:
    """Return how far an engine's answers lie from a CPU's on this device, for a result's conditions; empty: unknown."""
    return {"engine_parity": json.loads(facts.measured)} if facts.measured else {}


def machine() -> dict[str, str]:
    """Return the facts of this machine, and of its GPU where a driver shows one; nothing that names the machine."""
    facts = machine_facts(())
    try:
        device = probe()
    except DeviceError:
        return facts | {"gpu": "none"}
    major, minor = device.compute_capability
    return facts | {
        "gpu": device.name,
        "gpu_compute_capability": f"{major}.{minor}",
        "gpu_driver_cuda": device.driver_version,
        "gpu_memory_mb": str(round(device.memory_bytes / 1e6)),
    }


def versions() -> dict[str, str]:
    """Return the version of kda-edge and of each package that is installed and could change a figure."""
    found = {"kda-edge": __version__, "python": sys.version.split()[0]}
    for distribution in metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower()
        # Another distribution's module, such as that of onnxruntime-gpu, is in front of it on the path.
        is_hidden = name == "onnxruntime" and distribution.version != onnxruntime.__version__
        if name in PACKAGES and not is_hidden:
            found.setdefault(name, distribution.version)  # of two the first on the path is imported
    return dict(sorted(found.items()))
