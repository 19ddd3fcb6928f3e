"""Students that learned nothing, on disk, and the contract of 16-bit imagery that some are made for."""

from __future__ import annotations

from pathlib import Path

import torch

from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.checkpoint import Checkpoint, write_checkpoint
from kda_edge.networks.student import Student

UINT16 = InputContract(pixel_type="uint16", value_range=(0.0, 4000.0), mean=(1900.0,) * 3, std=(900.0,) * 3)


def write_student(path: Path, seed: int = 0, contract: InputContract | None = None, threshold: float = 0.5) -> Path:
    torch.manual_seed(seed)
    student = Student("nano").eval()
    write_checkpoint(path, Checkpoint(student, contract or InputContract(), threshold, TrainingRecord(), 64))
    return path
