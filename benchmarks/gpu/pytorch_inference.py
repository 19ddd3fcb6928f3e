"""The part `pytorch`: the same students in PyTorch, eager and compiled, in float32, FP16 and bfloat16.

What PyTorch makes of them on a card without any of our engines; where only PyTorch is installed, all that can be known.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from kda_edge import __version__
from kda_edge.errors import MissingDependency
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.tile_comparison import trial_tiles
from kda_edge.tiling.tile_answers import Engine

from ..measuring.tile_parity import BATCHES, BUDGETS, Remembered, parities
from .facts import card_of
from .ladder import Case, batches_of, climb, judge, work_of_artifact
from .models import Student, artifact_of, checkpoint_of, students
from .onnxruntime_bound import REHEARSAL_TILES
from .parts import Findings, NotPossibleHere, Task

if TYPE_CHECKING:
    import torch

# In the order of their value: compiling takes most of the time.
CASES: Final = (
    ("eager", "fp16"),
    ("eager", "fp32"),
    ("compile", "fp16"),
    ("eager", "bf16"),
    ("compile", "fp32"),
    ("compile", "bf16"),
)
REHEARSED: Final = (("eager", "fp32"), ("eager", "bf16"), ("compile", "fp32"))
COMPILED_BATCHES: Final = (16, 1)  # each is compiled anew
COMPILE_S: Final = 40.0  # that compiling a student for both batches takes at least; below, it is not begun
REHEARSAL_BACKEND: Final = "eager"  # of torch.compile: the graph is captured, nothing is compiled


def run(task: Task, findings: Findings) -> None:
    """Measure each student in each case.

    Raises:
        MissingDependency: PyTorch is not installed.
        NotPossibleHere: it does not see the card.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency("torch", extra="train")
    import torch

    from ..contestants.pytorch import without_tf32

    if task.device == "cuda" and not torch.cuda.is_available():
        raise NotPossibleHere(f"PyTorch {torch.__version__} sees no card; see what nvidia-smi lists")
    without_tf32()
    findings.settings |= {
        "computes": "autocast in FP16 and bfloat16, weights float32; float32 without TF32",
        "call": "tiles and answers on the device; waits until it is done",
        "compile": "torch.compile, dynamic=False" + (f", backend {REHEARSAL_BACKEND}" if task.rehearsal else ""),
    }
    # Of the two of one size one is enough: the bundled one, in a rehearsal that of the smaller tile.
    chosen = students(task)[-1:] if task.rehearsal else [one for one in students(task) if one.name != "nano"]
    found = [(student, checkpoint_of(student, task.out)) for student in chosen]
    for student, checkpoint in found:
        if checkpoint is None:
            findings.notes.append(f"{student.name}: there is no checkpoint; see the part models")
    # The processor answers once for all: on its few cores a large student takes as long as a case on the card.
    there = [student for student, checkpoint in found if checkpoint is not None]
    believed = {student: Remembered(OnDevice(student, "fp32", "eager", _on_cpu(task))) for student in there}
    for mode, precision in REHEARSED if task.rehearsal else CASES:
        for student, reference in believed.items():
            torch.compiler.reset()  # else, after eight variants, what is called compiled is eager again
            with findings.on_its_own(f"{student.name} {precision} {mode}"):
                _one_case(student, precision, mode, task, findings, reference=reference)


class OnDevice:
    """A student on a device: raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T).

    Attributes:
        manifest: that an artifact of it would have.
    """

    def __init__(self, student: Student, precision: str, mode: str, task: Task) -> None:
        import torch

        from kda_edge.networks.checkpoint import read_checkpoint, weights_digest

        from ..contestants.pytorch import FoldedOrder, computing_in

        path = checkpoint_of(student, task.out)
        assert path is not None
        checkpoint = read_checkpoint(path)
        self.manifest = Manifest(
            variant=student.variant,
            parameters=sum(weights.numel() for weights in checkpoint.student.parameters()),
            checkpoint_sha256=weights_digest(checkpoint.student),
            tile_px=student.tile_px,
            package_version=__version__,
            input=checkpoint.input,
            threshold=checkpoint.threshold,
        )
        network = checkpoint.student.at_size(student.tile_px, student.tile_px).eval()
        module: Any = FoldedOrder(network, checkpoint.input).eval().to(task.device)
        if mode == "compile":
            module = torch.compile(module, dynamic=False, backend=REHEARSAL_BACKEND if task.rehearsal else "inductor")
        self._answer, self._device = computing_in(module, precision, task.device), task.device

    def call(self, tiles: NDArray[np.float32]) -> Callable[[], torch.Tensor]:
        """Return a call that computes these tiles, kept on the device, and waits."""
        import torch

        given = torch.from_numpy(tiles).to(self._device)

        def run() -> torch.Tensor:
            answer = self._answer(given)
            if self._device == "cuda":
                torch.cuda.synchronize()
            return answer

        return run

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the answer on the host."""
        return np.asarray(self.call(tiles)().float().cpu().numpy())


def _one_case(
    student: Student, precision: str, mode: str, task: Task, findings: Findings, *, reference: Engine
) -> None:
    of = {"model": student.name, "precision": precision, "mode": mode}
    work = work_of_artifact(artifact_of(student, "fp32", task.out), findings)
    case = Case(of, student.tile_px, precision, work)
    if not findings.has_time_for(case.name, 1.0 if mode == "eager" or task.rehearsal else COMPILE_S):
        return
    engine = OnDevice(student, precision, mode, task)
    tiles = trial_tiles(engine.manifest)[: REHEARSAL_TILES if task.rehearsal else None]
    # Compiled is a batch of one alone: each other one would be compiled for this.
    rows = parities(tiles, reference, engine, engine.manifest, batches=BATCHES if mode == "eager" else (1,))
    # In other than float32, and compiled, these are others' answers, measured to be told; training relies on float32.
    is_promised = (mode, precision) == ("eager", "fp32")
    judge(case, rows, BUDGETS[precision], findings, against="PyTorch on the CPU", is_promised=is_promised)
    findings.save()
    low, high = engine.manifest.input.value_range
    rng = np.random.default_rng(0)

    def call_of(batch: int) -> Callable[[], Any]:
        return engine.call(rng.uniform(low, high, (batch, 3, student.tile_px, student.tile_px)).astype(np.float32))

    batches = batches_of(task) if mode == "eager" or task.rehearsal else COMPILED_BATCHES
    climb(case, call_of, task, findings, batches=batches)


def _on_cpu(task: Task) -> Task:
    return replace(task, card=card_of("cpu"))
