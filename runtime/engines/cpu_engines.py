"""The CPU's engines opened: ONNX Runtime, or OpenVINO once it was shown to answer alike on this machine."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import onnxruntime

from kda_edge import __version__
from kda_edge.certificate import Budget
from kda_edge.errors import DeviceError, KdaEdgeError
from kda_edge.machine import machine_facts

from ..hardware.usable_cores import thread_count
from .artifact import Artifact
from .cpu_choice import SAVES_MS, Comparison, budget_of, compared, takes_under_ms
from .model_engine import ModelEngine
from .onnxruntime_engine import open_onnxruntime
from .openvino_engine import load_openvino, open_openvino
from .remembered import remember, remembered

NOT_USED: Final = "%s: OpenVINO is installed and not used: %s"

_log = logging.getLogger(__name__)


def openvino_version() -> str:
    """Return OpenVINO's version, empty where it is not installed; it is not loaded for that, if pip installed it."""
    if importlib.util.find_spec("openvino") is None:
        return ""
    with suppress(PackageNotFoundError):
        return version("openvino")
    with suppress(KdaEdgeError):
        return str(load_openvino().__version__)
    return "unknown"  # it can't be loaded; who tries is told why


@dataclass(frozen=True)
class CpuEngines:
    """What opening an engine of the CPU asks of the machine; tests bring their own.

    Attributes:
        open_cpu: `open_onnxruntime`, or what takes its arguments.
        open_openvino: `open_openvino`, or what takes its arguments.
        openvino: the version that is installed; empty: none.
        root: of the cache; None is `cache_folder()`.
        clock: in seconds.
    """

    open_cpu: Callable[..., ModelEngine] = open_onnxruntime
    open_openvino: Callable[..., ModelEngine] = open_openvino
    openvino: Callable[[], str] = openvino_version
    root: Path | None = None
    clock: Callable[[], float] = time.perf_counter


def open_fastest(artifact: Artifact, *, threads: int = 0, around: CpuEngines | None = None) -> tuple[ModelEngine, str]:
    """Open a model with the faster of the CPU's engines; return it and its name, `cpu` or `openvino`.

    OpenVINO is taken where it is installed, answers as ONNX Runtime does and is clearly faster. What was found out is
    kept, so that one machine goes on making one choice; the reason goes to the log.

    Args:
        artifact: the model.
        threads: 0 takes as many as suit this process.
        around: None: what is installed.

    Raises:
        ArtifactError: ONNX Runtime does not take the model.
        UsageError: fewer threads than 0.
    """
    shop = _Shop(artifact, "openvino", threads, CpuEngines() if around is None else around)
    if not shop.around.openvino():
        return shop.cpu(), "cpu"
    found = shop.remembered()
    if found is None:
        return _open_faster(shop)
    if shop.is_better(found):
        try:
            return shop.other(), "openvino"
        except KdaEdgeError as error:
            _log.warning(NOT_USED, artifact.path, error)
    return shop.cpu(), "cpu"


def _open_faster(shop: _Shop) -> tuple[ModelEngine, str]:
    """Open both, compare them, and close the one that is not taken."""
    cpu = shop.cpu()
    try:
        if takes_under_ms(cpu, shop.artifact.manifest, SAVES_MS, clock=shop.around.clock):
            return cpu, "cpu"
        other = shop.other()
        found = shop.compared(cpu, other)
    except KdaEdgeError as error:
        _log.warning(NOT_USED, shop.artifact.path, error)
        return cpu, "cpu"
    if shop.is_better(found):
        cpu.close()
        return other, "openvino"
    other.close()
    return cpu, "cpu"


def open_agreeing(
    artifact: Artifact, engine: str, *, threads: int = 0, around: CpuEngines | None = None
) -> tuple[ModelEngine, tuple[str, ...]]:
    """Open a model with OpenVINO by name, if it answers as ONNX Runtime does; return it and what to know of it.

    Args:
        artifact: the model.
        engine: `openvino`, or `openvino-bf16`, which may differ by more and says by how much.
        threads: 0 takes as many as suit this process.
        around: None: what is installed.

    Raises:
        MissingDependency: OpenVINO is not installed.
        ArtifactError: it does not take the model, or ONNX Runtime does not.
        DeviceError: it can't run here, or answers otherwise.
        EngineError: it fails on a tile.
        UsageError: fewer threads than 0.
    """
    shop = _Shop(artifact, engine, threads, CpuEngines() if around is None else around)
    other = shop.other()
    found = shop.remembered()
    if found is None:
        with closing(shop.cpu()) as cpu:
            found = shop.compared(cpu, other)
    against = found.beyond(shop.budget)
    if against:
        other.close()
        raise DeviceError(
            f"OpenVINO {shop.around.openvino()} does not answer as ONNX Runtime does ({engine}: {against}); "
            "use --engine cpu"
        )
    if engine == "openvino":
        return other, ()
    return other, (
        f"the model runs in bfloat16: on the worst of {len(found.tiles)} tiles tried here the probability differed by "
        f"up to {found.farthest.max_abs:.2g} from the certified float32 and {1 - found.most_changed.agreement:.2%} of "
        f"the pixels changed class; {shop.budget.max_abs:g} and {shop.budget.iou_points:g}% are allowed",
    )


@dataclass(frozen=True)
class _Shop:
    """One model, and OpenVINO by one of its names."""

    artifact: Artifact
    engine: str
    threads: int
    around: CpuEngines

    @property
    def budget(self) -> Budget:
        return budget_of(self.artifact.manifest, self.engine)

    def cpu(self) -> ModelEngine:
        return self.around.open_cpu(self.artifact.path, self.artifact.manifest, threads=self.threads)

    def other(self) -> ModelEngine:
        return self.around.open_openvino(
            self.artifact.path, self.artifact.manifest, bfloat16=self.engine == "openvino-bf16", threads=self.threads
        )

    def is_better(self, found: Comparison) -> bool:
        """Whether OpenVINO is to be taken; why goes to the log."""
        path, against = self.artifact.path, found.beyond(self.budget)
        if against:
            _log.warning(NOT_USED, path, against)
            return False
        times = f"{found.other_ms:.1f} ms a tile against {found.cpu_ms:.1f} ms of ONNX Runtime"
        _log.info("%s: OpenVINO is %s: %s", path, "used" if found.saves else "not used", times)
        return found.saves

    def remembered(self) -> Comparison | None:
        return remembered(self._key(), root=self.around.root)

    def compared(self, cpu: ModelEngine, other: ModelEngine) -> Comparison:
        _log.info("%s: comparing %s with ONNX Runtime, once on this machine", self.artifact.path, self.engine)
        found = compared(cpu, other, self.artifact.manifest, clock=self.around.clock)
        return remember(self._key(), found, root=self.around.root)

    def _key(self) -> dict[str, str]:
        """Return all that a comparison depends on."""
        facts = machine_facts(())
        return {
            "graph_sha256": self.artifact.graph_sha256,
            "engine": self.engine,
            "threads": str(thread_count(self.threads)),
            "openvino": self.around.openvino(),
            "onnxruntime": onnxruntime.__version__,
            "kda_edge": __version__,
            **{name: facts[name] for name in ("processor", "instructions", "cores")},
        }
