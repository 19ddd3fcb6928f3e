"""Loggers of a run's metrics: where, besides `metrics.csv`, the figures of each epoch go."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from kda_edge.errors import MissingDependency, UsageError
from kda_edge.quiet_logger import quiet

TENSORBOARD: Final = "tensorboard"
CSV: Final = "csv"  # always written; named alone, nothing else is
MLFLOW: Final = "mlflow"
LOGGERS: Final = (TENSORBOARD, CSV, MLFLOW)
MLFLOW_FILE: Final = "mlflow.db"
EXPERIMENT: Final = "kda-train"


class Logger(Protocol):
    """Takes the figures of each epoch."""

    def write(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log figures by name at the end of an epoch, counted from 1."""

    def close(self) -> None:
        """Have all of it on the disk."""


def require_loggers(names: Sequence[str]) -> None:
    """Raise unless there are such loggers and what they need is installed; nothing is opened.

    Raises:
        UsageError: there is no such logger.
        MissingDependency: the library of one is not installed.
    """
    for name in names:
        if name not in LOGGERS:
            raise UsageError(f"there is no logger {name!r}; choose among {', '.join(LOGGERS)}")
        if name != CSV and importlib.util.find_spec(name) is None:
            raise MissingDependency(name, extra="train" if name == TENSORBOARD else "mlflow")


def open_loggers(names: Sequence[str], out: Path, first_epoch: int) -> list[Logger]:
    """Open the loggers of a run.

    Args:
        names: of `LOGGERS`.
        out: folder of the run, which is there.
        first_epoch: epochs that are done; what a killed run logged after them is dropped or written again.

    Raises:
        UsageError: there is no such logger.
        MissingDependency: the library of one is not installed.
    """
    require_loggers(names)
    kinds: dict[str, Callable[[Path, int], Logger]] = {TENSORBOARD: TensorBoardLogger, MLFLOW: MlflowLogger}
    return [kinds[name](out, first_epoch) for name in dict.fromkeys(names) if name in kinds]


class TensorBoardLogger:
    """TensorBoard's event files in the folder of a run.

    Args:
        out: the folder.
        first_epoch: later epochs of an earlier run are dropped.
    """

    def __init__(self, out: Path, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(log_dir=str(out), purge_step=first_epoch + 1 if first_epoch else None)

    def write(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log figures by name at the end of an epoch, counted from 1."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Have all of it on the disk."""
        self._writer.close()


class MlflowLogger:
    """An MLflow run in `mlflow.db` in the folder of a run, an SQLite file; no server.

        mlflow ui --backend-store-uri sqlite:///RUN/mlflow.db

    Args:
        out: the folder; its name is the run's. A resumed run goes on in the same one.
        first_epoch: epochs that are done; 0 begins a new run beside what is there.
    """

    def __init__(self, out: Path, first_epoch: int) -> None:
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(tracking_uri=f"sqlite:///{(out / MLFLOW_FILE).resolve()}")
        with quiet(MLFLOW):  # about the tables that it makes
            found = self._client.get_experiment_by_name(EXPERIMENT)
        place = f"file://{(out / 'mlflow').resolve()}"
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT, place)
        earlier = self._client.search_runs([experiment]) if first_epoch else []
        run = earlier[0] if earlier else self._client.create_run(experiment, run_name=out.resolve().name)
        self._run_id = run.info.run_id

    def write(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log figures by name at the end of an epoch, counted from 1; those that are not finite are left out."""
        for name, value in figures.items():
            if math.isfinite(value):
                self._client.log_metric(self._run_id, _name_for_mlflow(name), float(value), step=epoch)

    def close(self) -> None:
        """Have all of it on the disk."""
        self._client.set_terminated(self._run_id)


def _name_for_mlflow(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
