"""Loggers: each gets every epoch's figures, what a resumed run says goes on, and what lacks is said before work."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kda_edge.errors import MissingDependency, UsageError
from kda_edge.train.cli.train import main
from kda_edge.train.loops.loggers import MlflowLogger, open_loggers, require_loggers
from kda_edge.train.loops.metric_reports import EpochLog
from kda_edge.train.segmentation.config import SegmentConfig

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)
FIGURES = {"train/loss": 0.5, "val bijie/ny (1)/iou": 0.25, "val x/iou": float("nan")}


@dataclasses.dataclass
class FakeStore:
    """Stands for what MLflow keeps in a file: experiments, runs, metrics."""

    experiments: dict[str, str] = dataclasses.field(default_factory=dict)
    runs: list[str] = dataclasses.field(default_factory=list)
    metrics: list[tuple[str, str, float, int]] = dataclasses.field(default_factory=list)
    ended: list[str] = dataclasses.field(default_factory=list)


class FakeClient:
    """Stands for `mlflow.MlflowClient`; names of metrics are checked as MLflow 3.17 checks them."""

    stores: ClassVar[dict[str, FakeStore]] = {}

    def __init__(self, tracking_uri: str) -> None:
        self.store = self.stores.setdefault(tracking_uri, FakeStore())

    def get_experiment_by_name(self, name: str) -> Any:
        found = self.store.experiments.get(name)
        return SimpleNamespace(experiment_id=found) if found else None

    def create_experiment(self, name: str, artifact_location: str) -> str:
        assert artifact_location.startswith("file:///")
        self.store.experiments[name] = "1"
        return "1"

    def create_run(self, experiment: str, run_name: str) -> Any:
        self.store.runs.insert(0, f"{run_name}-{len(self.store.runs)}")
        return SimpleNamespace(info=SimpleNamespace(run_id=self.store.runs[0]))

    def search_runs(self, experiments: list[str]) -> list[Any]:
        return [SimpleNamespace(info=SimpleNamespace(run_id=run)) for run in self.store.runs]

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-. :/"), name
        self.store.metrics.append((run, name, value, step))

    def set_terminated(self, run: str) -> None:
        self.store.ended.append(run)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeStore]:
    module = ModuleType("mlflow")
    module.__spec__ = importlib.util.spec_from_loader("mlflow", loader=None)
    module.MlflowClient = FakeClient  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    FakeClient.stores = {}
    return FakeClient.stores


def test_mlflow_gets_every_figure_that_is_finite_in_a_file_of_the_run(
    mlflow: dict[str, FakeStore], tmp_path: Path
) -> None:
    with EpochLog(tmp_path / "run", 0, loggers=("mlflow",), writes=True) as log:
        log.write(1, FIGURES)
    ((uri, store),) = mlflow.items()
    assert uri == f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}"
    assert store.metrics == [("run-0", "train/loss", 0.5, 1), ("run-0", "val bijie/ny _1_/iou", 0.25, 1)]
    assert store.ended == ["run-0"]
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\n") == 2
    assert not list((tmp_path / "run").glob("events*"))


def test_a_resumed_run_goes_on_in_the_same_run_and_a_new_one_does_not(
    mlflow: dict[str, FakeStore], tmp_path: Path
) -> None:
    for first_epoch in (0, 1, 0):
        logger = MlflowLogger(tmp_path, first_epoch)
        logger.write(first_epoch + 1, {"loss": 1.0})
        logger.close()
    (store,) = mlflow.values()
    first, again, new = (run for run, *_ in store.metrics)
    assert first == again != new


def test_real_mlflow_reads_what_was_logged(tmp_path: Path) -> None:
    module = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'kda-edge[mlflow]'")
    for first_epoch in (0, 1):
        logger = MlflowLogger(tmp_path, first_epoch)
        logger.write(first_epoch + 1, FIGURES)
        logger.close()
    client = module.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("kda-train").experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(one.step, one.value) for one in history] == [(1, 0.5), (2, 0.5)]


def test_tensorboard_gets_every_figure_and_csv_alone_writes_no_events(tmp_path: Path) -> None:
    for name in ("tensorboard", "csv"):
        with EpochLog(tmp_path / name, 0, loggers=(name,), writes=True) as log:
            log.write(1, {"train/loss": 0.5})
        assert (tmp_path / name / "metrics.csv").is_file()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("train/loss")] == [(1, 0.5)]
    assert not list((tmp_path / "csv").glob("events*"))


def test_a_process_that_does_not_write_opens_nothing(tmp_path: Path) -> None:
    with EpochLog(tmp_path / "run", 0, loggers=("tensorboard",), writes=False) as log:
        log.write(1, {"loss": 1.0})
    assert not (tmp_path / "run").exists()


def test_what_is_not_installed_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else found(name))
    with pytest.raises(MissingDependency, match=r"kda-edge\[mlflow\]"):
        require_loggers(("tensorboard", "mlflow"))
    with pytest.raises(MissingDependency, match="mlflow"):
        open_loggers(("mlflow",), tmp_path, 0)
    with pytest.raises(UsageError, match="there is no logger 'wandb'; choose among tensorboard, csv, mlflow"):
        require_loggers(("wandb",))
    with pytest.raises(UsageError, match="loggers must be one of"):
        SegmentConfig(loggers=("wandb",))


def test_a_missing_logger_ends_the_command_before_the_imagery_is_read(
    monkeypatch: pytest.MonkeyPatch, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else found(name))
    words = ["--data", str(folders), "--variant", "nano", "--out", str(tmp_path / "run"), "--logger", "mlflow"]
    assert main(["segment", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "mlflow" in line
    assert not (tmp_path / "run").exists()
