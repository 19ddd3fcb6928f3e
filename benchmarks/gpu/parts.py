"""The parts of a GPU report: their order, their time, what they are told and what they find.

The most valuable come first, so that a visit that is cut short has measured what matters most. Each part has a process
of its own: it can neither slow nor end another.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import DeviceError, KdaEdgeError, MissingDependency, OutOfDeviceMemory, one_line

from ..reporting.result import Estimate, Figure, Result
from .part_file import Card

REASON_CHARS: Final = 500  # of a failure: enough for errors of our own, which end in what to do
OUT_OF_MEMORY: Final = "the memory of the GPU does not suffice; close what else uses it"


class NotPossibleHere(Exception):
    """Something that a part needs is not on this machine; its words are the reason that the report gives."""


NOT_POSSIBLE: Final = (NotPossibleHere, DeviceError, MissingDependency)  # what ends a part without a fault of it


@dataclass(frozen=True)
class Part:
    """A part of the report.

    Attributes:
        name: of its file.
        title: what it answers.
        module: below benchmarks/; it has `run(task, findings)`.
        share_s: what it gets of 8 minutes; of other times, and of what others left, in proportion to theirs, s.
        rehearsal_s: what it gets in a rehearsal, many times what it takes: a busy machine is no fault, s.
    """

    name: str
    title: str
    module: str
    share_s: float
    rehearsal_s: float


PARTS: Final = {
    part.name: part
    for part in (
        Part("facts", "the card and what is installed", "gpu.facts", 20, 60),
        Part("models", "students made ready", "gpu.models", 60, 60),
        Part("onnxruntime", "inference by ONNX Runtime, tiles bound to the device", "gpu.onnxruntime_bound", 75, 60),
        Part("pytorch", "inference by PyTorch, eager and compiled", "gpu.pytorch_inference", 120, 180),
        Part("training", "training steps, resuming, memory", "gpu_train.training", 110, 600),
        Part("scene", "a scene from file to map, against peers", "gpu.scene_contest", 80, 300),
        Part("tensorrt", "engines built, proven and timed", "gpu.tensorrt_engines", 120, 60),
        Part("student", "a student trained for the minutes that are left", "gpu_train.student", 120, 300),
    )
}


@dataclass(frozen=True)
class Task:
    """What a part is told.

    Attributes:
        out: folder of the report.
        card: that it runs on; its `kind` is the device.
        rehearsal: tiny sizes, to see that all of it runs; the figures mean nothing.
        seconds: in which it should be done; a tenth later it is ended.
        data: labelled imagery for the student; None: none.
        scene: to map; None: one is generated.
        golden: folder with the rule for the weights of `base`; None: weights from a seed.
    """

    out: Path
    card: Card
    rehearsal: bool = False
    seconds: float = 60.0
    data: Path | None = None
    scene: Path | None = None
    golden: Path | None = None

    @property
    def device(self) -> str:
        """`cuda` or `cpu`."""
        return self.card.kind

    def to_json(self) -> str:
        """Return the task for another process."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return json.dumps(plain | {"card": vars(self.card)}, default=str)

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Return the task that `to_json` was made from."""
        plain: dict[str, Any] = json.loads(text)
        paths = {name: plain[name] and Path(plain[name]) for name in ("out", "data", "scene", "golden")}
        return cls(**(plain | paths | {"card": Card(**plain["card"])}))


@dataclass
class Findings:
    """What a part has found so far; `save` puts it on disk, so that what is killed later has not been for nothing.

    Attributes:
        deadline_s: on the clock; cases that would end after it are left out.
        save: called after each case.
        clock: in seconds.
    """

    deadline_s: float
    save: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.perf_counter
    figures: list[Figure] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    models: list[Mapping[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)

    def remaining_s(self) -> float:
        """Return the seconds that are left for cases."""
        return self.deadline_s - self.clock()

    def has_time_for(self, case: str, seconds: float) -> bool:
        """Return whether a case still fits; where it does not, it is noted as left out."""
        fits = self.remaining_s() >= seconds
        if not fits:
            self.left_out.append(f"{case}: no time was left")
        return fits

    @contextmanager
    def on_its_own(self, case: str) -> Iterator[None]:
        """Note the error that a case ends with among the failures, so that the cases after it run.

        Raises:
            NotPossibleHere, DeviceError, MissingDependency: the part can't run here at all.
        """
        try:
            yield
        except Exception as error:  # a case may fail in every way that a driver or a compiler can
            if isinstance(error, NOT_POSSIBLE) and not is_out_of_memory(error):
                raise
            traceback.print_exc()
            self.failures.append(f"{case}: {OUT_OF_MEMORY if is_out_of_memory(error) else reason_of(error)}")
            self.save()

    def result(self, part: str) -> Result:
        """Return all of it as a result."""
        return Result(
            benchmark="gpu",
            settings={"part": part, **self.settings},
            figures=list(self.figures),
            models=list(self.models),
            conditions=dict(self.conditions),
            estimates=list(self.estimates),
            notes=list(self.notes),
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of whichever library says that the GPU's memory ran out."""
    text = str(error).lower()
    said = "out of memory" in text or "failed to allocate memory" in text or "cuda_error_out_of_memory" in text
    return isinstance(error, (OutOfDeviceMemory, MemoryError)) or type(error).__name__ == "OutOfMemoryError" or said


def reason_of(error: BaseException) -> str:
    """Return what an error says, on one line, with its class where that is not one of ours."""
    text, kind = one_line(error, REASON_CHARS), type(error).__name__
    return text if isinstance(error, (KdaEdgeError, NotPossibleHere)) or text == kind else f"{kind}: {text}"
