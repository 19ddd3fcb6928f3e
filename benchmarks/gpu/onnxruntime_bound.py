"""The part `onnxruntime`: artifacts in ONNX Runtime's CUDA provider, tiles and answers bound to the device.

Nothing runs on the processor in silence: the session is told to refuse nodes that it would put there, its providers are
read back, and the device's memory must have grown by its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from kda_edge.errors import EngineError, ProviderFellBack, one_line
from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.in_turns import example_tiles
from kda_edge.runtime.engines.onnxruntime_engine import (
    CPU,
    CUDA,
    CUDA_OPTIONS,
    load_cuda,
    open_onnxruntime,
    session_options,
)
from kda_edge.runtime.engines.tile_comparison import trial_tiles
from kda_edge.runtime.hardware.gpu_probe import Device, probe

from ..measuring.tile_parity import budget_of, parities, require_digests
from ..reporting.measured_on import model_facts
from .facts import used_mb
from .ladder import Case, climb, judge, work_of_artifact
from .models import PRECISIONS, Student, artifact_of, students
from .parts import Findings, Task

REFUSE_CPU: Final = "session.disable_cpu_ep_fallback"
REHEARSAL_TILES: Final = 3
PROCESSORS_ANSWERS: Final = "ONNX Runtime on the CPU"
LEAST_GROWTH: Final = 0.5  # of the weights' bytes: allocators may have had some memory before


@dataclass(frozen=True)
class Surroundings:
    """What the part asks of the machine; tests bring their own.

    Attributes:
        ort: the module onnxruntime.
        find_gpu: the driver's GPU, or a `DeviceError`.
        used_mb: memory in use on the device; None: nothing tells it.
    """

    ort: Any = onnxruntime
    find_gpu: Callable[[], Device] = probe
    used_mb: Callable[[], float | None] = used_mb


class BoundSession:
    """A model whose tiles and answers stay on the device: what a call takes is computing alone."""

    def __init__(self, path: Path, device: str, ort: Any = onnxruntime) -> None:
        """Open the model.

        Raises:
            ProviderFellBack: ONNX Runtime would run it on the processor.
        """
        self._ort, self.device, self.notes = ort, device, list[str]()
        name = CUDA if device == "cuda" else CPU
        if name not in ort.get_available_providers():
            raise ProviderFellBack(
                f"this ONNX Runtime ({ort.__version__}) has no {name}; run: pip uninstall onnxruntime, then "
                "pip install onnxruntime-gpu"
            )
        self._session = self._opened(path, name)
        providers = self._session.get_providers()
        if name not in providers:
            raise ProviderFellBack(
                f"ONNX Runtime {ort.__version__} has {name} and could not load it (it took {', '.join(providers)}); "
                "install CUDA and cuDNN in the versions that it was built for"
            )
        self._session.disable_fallback()

    def _opened(self, path: Path, name: str) -> Any:
        if name == CPU:
            return self._ort.InferenceSession(str(path), session_options(self._ort), providers=[CPU])
        load_cuda(self._ort)
        cuda, strict = (name, dict(CUDA_OPTIONS)), session_options(self._ort)
        strict.add_session_config_entry(REFUSE_CPU, "1")
        try:
            return self._ort.InferenceSession(str(path), strict, providers=[cuda], enable_fallback=0)
        except Exception as error:  # the runtime's own classes share no public base
            self.notes.append(f"{path.name}: ONNX Runtime puts some nodes on the processor ({one_line(error)})")
        options = session_options(self._ort)
        return self._ort.InferenceSession(str(path), options, providers=[cuda, CPU], enable_fallback=0)

    def call(self, tiles: NDArray[np.float32]) -> tuple[Callable[[], None], Any]:
        """Return a call that computes these tiles and waits, and where its answer then lies on the device."""
        shape = [len(tiles), 1, *tiles.shape[2:]]
        given = self._ort.OrtValue.ortvalue_from_numpy(tiles, self.device, 0)
        answer = self._ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, self.device, 0)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(INPUT_NAME, given)
        binding.bind_ortvalue_output(OUTPUT_NAME, answer)

        def run() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return run, answer

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the answer on the host."""
        run, answer = self.call(tiles)
        run()
        return np.asarray(answer.numpy(), np.float32)


def run(task: Task, findings: Findings, *, around: Surroundings | None = None) -> None:
    """Measure each student in each precision.

    Raises:
        DeviceError: there is no GPU, or ONNX Runtime has no provider for it.
    """
    around = around or Surroundings()
    if task.device == "cuda":
        around.find_gpu()
    pairs = product(PRECISIONS[::-1], students(task))
    # Of the two of one size the bundled one comes first, in all precisions.
    for precision, student in sorted(pairs, key=lambda pair: pair[1].name == "nano"):
        name, path = f"{student.name} {precision}", artifact_of(student, precision, task.out)
        if path is None:
            findings.notes.append(f"{name}: there is no artifact; see the part models")
        elif findings.has_time_for(name, 1.0):
            with findings.on_its_own(name):
                _one_artifact(student, precision, path, task, findings, around=around)


def _one_artifact(
    student: Student, precision: str, path: Path, task: Task, findings: Findings, *, around: Surroundings
) -> None:
    artifact = read_artifact(path)
    manifest = artifact.manifest
    before_mb = around.used_mb() if task.device == "cuda" else None
    session = BoundSession(path, task.device, around.ort)
    findings.notes += session.notes
    findings.models.append(model_facts(artifact))
    plain = artifact_of(student, "fp32", task.out)
    work = work_of_artifact(plain, findings)
    case = Case({"model": student.name, "precision": precision}, manifest.tile_px, precision, work)

    tiles = trial_tiles(manifest)[: REHEARSAL_TILES if task.rehearsal else None]
    require_digests(tiles, manifest.certificate)
    reference = open_onnxruntime(plain or path, read_artifact(plain or path).manifest)
    rows = parities(tiles, reference, session, manifest)
    reference.close()
    if task.device == "cuda":
        require_growth(before_mb, around.used_mb(), path, findings)
    judge(case, rows, budget_of(manifest), findings, against=PROCESSORS_ANSWERS)
    findings.save()
    climb(case, lambda batch: session.call(example_tiles(manifest, batch))[0], task, findings)


def require_growth(before_mb: float | None, after_mb: float | None, path: Path, findings: Findings) -> None:
    """Hold a session to having taken memory on the device.

    Raises:
        EngineError: it has not: the model runs on the processor.
    """
    if before_mb is None or after_mb is None:
        note = "nothing tells the memory on the device: that the models lie there was not checked"
        if note not in findings.notes:
            findings.notes.append(note)
        return
    weights_mb = path.stat().st_size / 1e6
    if after_mb - before_mb < LEAST_GROWTH * weights_mb:
        raise EngineError(
            f"{path.name} took {after_mb - before_mb:.0f} MB on the device and has {weights_mb:.0f} MB of weights: "
            "it runs on the processor, whatever ONNX Runtime says of its providers"
        )
