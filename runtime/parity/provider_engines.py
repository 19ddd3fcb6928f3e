"""ONNX Runtime's providers for GPUs opened as engines, their answers held to those of its CPU first."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kda_edge.paths import cache_folder

from ..engines.artifact import Artifact
from ..engines.engine_names import PROVIDERS
from ..engines.model_engine import ModelEngine
from ..engines.onnxruntime_engine import open_onnxruntime
from ..hardware.gpu_probe import Device, driver_release, probe
from .agreeing_form import Form, agreeing_form
from .depends_on import depends_on
from .device_parity import DeviceParity, parity_with_cpu
from .kept_parity import keep_parity, kept_parity

FOLDER: Final = "engine_parity"  # below the cache's folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuProviders:
    """What opening a provider asks of the machine; tests bring their own.

    Attributes:
        find_gpu: the driver's GPU, or a `DeviceError`.
        open_onnxruntime: opens a model with any provider.
        driver_release: of the driver, empty where nobody knows.
        root: of the cache; None is `cache_folder()`.
    """

    find_gpu: Callable[[], Device] = probe
    open_onnxruntime: Callable[..., ModelEngine] = open_onnxruntime
    driver_release: Callable[[], str] = driver_release
    root: Path | None = None


@dataclass(frozen=True)
class ComparedEngine:
    """An engine that answers as the CPU does.

    Attributes:
        runs: the model in its library.
        graph_sha256: digest of the graph that runs.
        parity: how far its answers lie from the CPU's.
        notes: what a person should know, a sentence each.
    """

    runs: ModelEngine
    graph_sha256: str
    parity: DeviceParity
    notes: tuple[str, ...] = ()


def open_compared(
    artifact: Artifact, engine: str, *, threads: int = 0, around: GpuProviders | None = None
) -> ComparedEngine:
    """Open a model with one of ONNX Runtime's providers for GPUs, if it answers as its CPU does; compared once.

    Args:
        artifact: the model.
        engine: `cuda` or `ort-tensorrt`.
        threads: of the CPU; 0 takes as many as suit this process.
        around: None: what is installed.

    Raises:
        ArtifactError: ONNX Runtime does not take the model.
        DeviceError: there is no GPU, no driver or no provider.
        WrongAnswers: the provider answers otherwise than the CPU, with the sampling as gathers too.
        EngineError: it fails while it is compared.
        UsageError: fewer threads than 0.
    """
    shop = _Shop(artifact, engine, threads, GpuProviders() if around is None else around)
    device = shop.around.find_gpu()
    agreed = agreeing_form(
        artifact, lambda form: shop.parity(form, device), said=f"ONNX Runtime's provider for {engine} on {device.name}"
    )
    return ComparedEngine(shop.opened(agreed.form), agreed.form.artifact.graph_sha256, agreed.parity, agreed.notes)


@dataclass(frozen=True)
class _Shop:
    """One model, and one provider."""

    artifact: Artifact
    engine: str
    threads: int
    around: GpuProviders
    _open: dict[str, ModelEngine] = field(default_factory=dict)

    def opened(self, form: Form) -> ModelEngine:
        """Return the engine of a form: the one that was compared, where it was now; TensorRT takes minutes to open."""
        return self._open.pop(form.sampling, None) or self._engine(form)

    def parity(self, form: Form, device: Device) -> DeviceParity:
        """Return how far the provider's answers lie from the CPU's, as the cache has it or as it is measured now."""
        artifact, manifest = self.artifact, self.artifact.manifest
        needs = depends_on(self.engine, form.artifact.graph_sha256, manifest, device, self.around.driver_release())
        kept = self._kept(needs)
        known = kept_parity(kept, needs)
        if known is not None:
            return known
        _log.warning("%s: comparing %s with ONNX Runtime on the CPU, once on this device", artifact.path, self.engine)
        engine = self._engine(form)
        try:
            with closing(self.around.open_onnxruntime(artifact.path, manifest, threads=self.threads)) as cpu:
                found = parity_with_cpu(
                    cpu, engine, manifest, engine=self.engine, sampling=form.sampling, depends_on=needs
                )
        except BaseException:
            engine.close()
            raise
        if found.against_it:
            engine.close()
        else:
            self._open[form.sampling] = engine
        keep_parity(kept, found)
        return found

    def _engine(self, form: Form) -> ModelEngine:
        return self.around.open_onnxruntime(
            form.artifact.path,
            form.artifact.manifest,
            provider=PROVIDERS[self.engine],
            threads=self.threads,
            graph=form.graph,
        )

    def _kept(self, needs: dict[str, str]) -> Path:
        name = hashlib.sha256(json.dumps(needs, sort_keys=True).encode()).hexdigest()[:32]
        return (cache_folder() if self.around.root is None else self.around.root) / FOLDER / f"{name}.json"
