"""One small student with every weight drawn, for 16-bit imagery, and what it was exported to: made once a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kda_edge.export.config import ExportConfig
from kda_edge.export.graphs.to_onnx import ExportedGraph, onnx_from_student
from kda_edge.export.pipeline import ExportReport, export_checkpoint
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.checkpoint import Checkpoint, weights_digest, write_checkpoint
from kda_edge.networks.student import Student

TILE_PX = 64


@dataclass(frozen=True)
class Traced:
    """A student that was exported, and what an export could have changed in it."""

    student: Student
    graph: ExportedGraph
    before: tuple[object, ...]
    after: tuple[object, ...]


def state_of(student: Student) -> tuple[object, ...]:
    """Everything that an export could change."""
    return (
        weights_digest(student),
        {name: module.training for name, module in student.named_modules()},
        {name: (weight.requires_grad, weight.grad is None) for name, weight in student.named_parameters()},
        list(student.state_dict()),
        list(student.encoder.position_grids_hw),
        {name: sorted(vars(module)) for name, module in student.named_modules()},
    )


@pytest.fixture(scope="session")
def make_student() -> Callable[[int], Student]:
    """A `nano` with weights of a seed, biases and norms too, in eval mode; its probabilities spread over 0..1."""

    def make(seed: int) -> Student:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            student = Student("nano")
            with torch.no_grad():
                for weight in student.parameters():
                    weight.add_(0.05 * torch.randn_like(weight))
                student.decoder.head.weight.mul_(3.0)
        return student.eval()

    return make


@pytest.fixture(scope="session")
def student(make_student: Callable[[int], Student]) -> Student:
    return make_student(0)


@pytest.fixture(scope="session")
def contract() -> InputContract:
    """16-bit imagery with three different means and deviations."""
    return InputContract(
        pixel_type="uint16",
        value_range=(0.0, 10000.0),
        mean=(1234.5, 2345.25, 3456.75),
        std=(810.0, 905.5, 1101.25),
        gsd_m=(0.2, 10.0),
    )


@pytest.fixture(scope="session")
def training() -> TrainingRecord:
    return TrainingRecord(
        data=("valley",),
        held_out=("gorge",),
        command="kda-train segment",
        seed=7,
        epochs=3,
        metrics={"gorge": {"iou": 0.5}},
    )


@pytest.fixture(scope="session")
def checkpoint_path(
    tmp_path_factory: pytest.TempPathFactory, student: Student, contract: InputContract, training: TrainingRecord
) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "student.pt"
    write_checkpoint(path, Checkpoint(student, contract, 0.375, training, TILE_PX))
    return path


@pytest.fixture(scope="session")
def traced(make_student: Callable[[int], Student], contract: InputContract) -> Traced:
    """The same student exported in training mode, one weight frozen, another with a gradient."""
    student = make_student(0).train()
    student.decoder.head.weight.requires_grad_(False)
    student.get_parameter("decoder.head.bias").grad = torch.ones(2)
    before = state_of(student)
    graph = onnx_from_student(student, contract, TILE_PX)
    return Traced(student, graph, before, state_of(student))


@pytest.fixture(scope="session")
def graph(traced: Traced) -> ExportedGraph:
    """The graph of `student` for `contract`."""
    return traced.graph


@pytest.fixture(scope="session")
def report(checkpoint_path: Path, graph: ExportedGraph) -> ExportReport:
    """What an export of `checkpoint_path` with all defaults has written; its graph is the session's, for speed."""
    return export_checkpoint(ExportConfig(checkpoint=checkpoint_path), to_graph=lambda *_: graph)


@pytest.fixture(scope="session")
def by_hand(student: Student, contract: InputContract) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The probability of raw tiles by the plain order of steps, normalised in float64 by hand."""

    def probability(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        mean = np.array(contract.mean).reshape(1, 3, 1, 1)
        std = np.array(contract.std).reshape(1, 3, 1, 1)
        normal = torch.from_numpy(((tiles.astype(np.float64) - mean) / std).astype(np.float32))
        with torch.inference_mode():
            background, landslide = student.forward_plain(normal).double().unbind(dim=1)
        share = 1.0 / (1.0 + np.exp((background - landslide).numpy()))
        return np.asarray(share[:, None], np.float32)

    return probability


@pytest.fixture(scope="session")
def random_tiles() -> Callable[..., NDArray[np.float32]]:
    """Tiles of seeded 16-bit values."""

    def make(count: int, seed: int = 0, side_px: int = TILE_PX) -> NDArray[np.float32]:
        values = np.random.default_rng(seed).integers(0, 10001, (count, 3, side_px, side_px))
        return values.astype(np.float32)

    return make
