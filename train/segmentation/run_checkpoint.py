"""The checkpoint of a run of phase 2: the student as it stands, and how it came to be."""

from __future__ import annotations

import copy

from kda_edge.manifest import TrainingRecord
from kda_edge.metrics import ConfusionCounts
from kda_edge.networks.checkpoint import Checkpoint
from kda_edge.networks.network import Network

from ..data.data_file import DataSet
from ..loops.compute_choice import Compute
from .config import SegmentConfig
from .evaluate import Evaluation


def run_checkpoint(
    student: Network,
    data: DataSet,
    config: SegmentConfig,
    *,
    threshold: float,
    evaluation: Evaluation,
    command: str,
    epochs: int,
    teacher: str,
    compute: Compute,
) -> Checkpoint:
    """Return a checkpoint of a copy of the student, on the CPU.

    Args:
        student: of the run.
        data: that it learns from and is judged on.
        config: of the run.
        threshold: of the student.
        evaluation: of this epoch.
        command: for the record.
        epochs: that are done.
        teacher: for the record, a sentence.
        compute: that the run chose.
    """
    counts: dict[str, ConfusionCounts] = evaluation.counts(threshold)
    record = TrainingRecord(
        data=tuple(data.groups("train")),
        held_out=tuple(data.groups("val") + data.groups("test")),
        command=command,
        seed=config.seed,
        epochs=epochs,
        teacher=teacher,
        licences=data.licences(),
        metrics={f"val {name}": value.as_dict() for name, value in counts.items()},
    )
    kept = copy.deepcopy(student).cpu().eval()
    return Checkpoint(kept, data.input, threshold, record, config.tile_px, compute=str(compute))
