"""Events at the steps of a batch on the device, and what each step took where that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..hardware.cuda import Cuda

PHASES: Final = ("copy_in", "compute", "copy_out")


@dataclass
class Marks:
    """Events of a batch: its tiles are on the device, its answer is computed, its answer is on the host."""

    arrived: Any
    computed: Any
    answered: Any

    def forget(self) -> None:
        """Let go of what is about to be given back; pycuda destroys an event with its last reference."""
        vars(self).update(dict.fromkeys(vars(self)))


@dataclass
class TimedMarks(Marks):
    """Marks that keep the time, and `started`, which is to be recorded before the tiles are copied."""

    started: Any

    def phases_ms(self, cuda: Cuda) -> dict[str, float]:
        """Return what each of `PHASES` took, ms, its wait for the one before included; the answer must be there."""
        steps = ((self.started, self.arrived), (self.arrived, self.computed), (self.computed, self.answered))
        return {phase: cuda.elapsed_ms(*step) for phase, step in zip(PHASES, steps, strict=True)}
