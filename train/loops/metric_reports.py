"""Metrics as a table for people, as JSON for machines, and as the logs of a run."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from kda_edge.errors import OutputError, UsageError, one_line
from kda_edge.metrics import ConfusionCounts
from kda_edge.networks.checkpoint import read_content, write_content
from kda_edge.whole_files import write_whole

from .loggers import TENSORBOARD, Logger, open_loggers
from .metrics_csv import MetricsCsv
from .output_places import require_folder

COLUMNS = ("iou", "precision", "recall", "f1", "mean_iou", "overall_accuracy")
HEADINGS = ("IoU", "precision", "recall", "F1", "mIoU", "OA")


def table(counts: Mapping[str, ConfusionCounts]) -> str:
    """Return a Markdown table, a row a group; IoU, precision, recall and F1 are those of landslide."""
    lines = ["| group | " + " | ".join(HEADINGS) + " |", "|---|" + "---:|" * len(HEADINGS)]
    for name, value in counts.items():
        metrics = value.as_dict()
        cells = [f"{metrics.get(column, math.nan):.3f}".replace("nan", "-") for column in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def record_metrics(path: Path, threshold: float, measured: Mapping[str, dict[str, float]]) -> None:
    """Write a threshold and the metrics at it into a checkpoint, atomically; its weights and all else stay.

    Raises:
        UsageError: a published state dict, which has no record.
        OutputError: it can't be written; the checkpoint is as it was.
    """
    content = dict(read_content(path))
    record = content.get("training")
    if not isinstance(record, dict):
        raise UsageError(f"{path.name} is a bare state dict and has no training record; leave --record out")
    content["threshold"] = float(threshold)
    content["training"] = {**record, "metrics": {**record["metrics"], **measured}}
    _written(path, lambda: write_content(path, content))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically.

    Raises:
        OutputError: it can't be written.
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    _written(path, lambda: write_whole(path, text.encode()))


def _written(path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise OutputError(
            f"{path} can't be written ({one_line(error)}); free some space, or choose another place"
        ) from error


class EpochLog:
    """`metrics.csv` and other logs in a run's folder, made if missing; the first of several processes writes.

    Args:
        out: folder of the run.
        first_epoch: what a killed run logged after it is dropped.
        loggers: names of the other logs.
        writes: whether this process does.

    Raises:
        MissingDependency: the library of a logger is not installed.
        UsageError: there is no such logger.
        TrainingError: the folder can't be written to, or has a name that TensorBoard can't write under.
    """

    def __init__(self, out: Path, first_epoch: int, *, loggers: Sequence[str] = (TENSORBOARD,), writes: bool) -> None:
        self._loggers: list[Logger] = []
        self._table: MetricsCsv | None = None
        if not writes:
            return
        require_folder(out, "--out")
        out.mkdir(parents=True, exist_ok=True)
        self._loggers = open_loggers(loggers, out, first_epoch)
        self._table = MetricsCsv(out, first_epoch)

    def __enter__(self) -> EpochLog:
        self._hook = threading.excepthook
        threading.excepthook = self._unless_told
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            for logger in self._loggers:
                with suppress(OSError) if error is not None else nullcontext():  # a full disk has been told
                    logger.close()
        finally:
            threading.excepthook = self._hook

    def _unless_told(self, fault: threading.ExceptHookArgs) -> None:
        """Print a thread's traceback, but not of a disk: TensorBoard's thread raises that once more in `write`."""
        if not issubclass(fault.exc_type, OSError):
            self._hook(fault)

    def write(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log figures by name at the end of an epoch, counted from 1."""
        for logger in self._loggers:
            logger.write(epoch, figures)
        if self._table is not None:
            self._table.write(epoch, figures)
