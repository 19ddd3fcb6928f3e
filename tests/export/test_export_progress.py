"""An export tells what it does from its first second on: each step by name, and what can be counted by number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from worlds import scar, write_image

from kda_edge.export.config import BudgetConfig, CalibrationConfig, ExportConfig
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.pipeline import ExportReport, export_checkpoint
from kda_edge.export.precision.sensitivity import search
from kda_edge.export.verifying.compared_engines import engine_from_graph


class Told:
    """The progress that was told."""

    def __init__(self) -> None:
        self.states: list[tuple[str, int, int]] = []

    def __call__(self, label: str, done: int, total: int) -> None:
        self.states.append((label, done, total))

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(label for label, _, _ in self.states))

    def of(self, label: str) -> list[tuple[int, int]]:
        return [(done, total) for one, done, total in self.states if one == label]


@pytest.fixture
def run(checkpoint_path: Path, graph: ExportedGraph, tmp_path: Path) -> Callable[..., tuple[Told, ExportReport]]:
    def exported(**options: object) -> tuple[Told, ExportReport]:
        told = Told()
        config = ExportConfig(checkpoint_path, tmp_path / "out.onnx", **options)  # type: ignore[arg-type]
        engines = {"ONNX Runtime": engine_from_graph}
        report = export_checkpoint(config, to_graph=lambda *_: graph, timed_on=lambda: engines, progress=told)
        return told, report

    return exported


def test_each_tile_that_is_compared_is_told(run: Callable[..., tuple[Told, ExportReport]]) -> None:
    told, report = run()
    tiles = len(report.certificate.tiles)
    assert told.labels == ["tracing the network", "comparing with PyTorch, tiles", "writing and opening the artifact"]
    assert told.of("comparing with PyTorch, tiles") == [(done, tiles) for done in range(tiles + 1)]


def test_calibration_is_told_tile_by_tile_before_layers_are_searched(
    run: Callable[..., tuple[Told, ExportReport]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    place = tmp_path / "slides" / "images"
    for number in range(4):
        write_image(place / f"{number}.tif", scar(rng, 192, 192)[0].astype(np.uint16) * 20)
    calibration = CalibrationConfig(place, 16, "percentile", 0)
    budget = BudgetConfig(None, 100.0, 0.15, force=True)
    told, _ = run(precision="int8", target="cpu", calibration=calibration, budget=budget)
    assert told.labels[:5] == [
        *("tracing the network", "drawing tiles to calibrate on", "largest values, tiles"),
        *("histograms of values, tiles", "trying everything in the lower precision"),
    ]
    assert told.labels[-2:] == ["timing", "writing and opening the artifact"]
    done, total = told.of("histograms of values, tiles")[-1]
    assert done == total > 0


def test_a_search_counts_the_layers_that_it_tries_alone() -> None:
    told, groups = Told(), ("a", "b", "c")
    damages = {"a": 0.1, "b": 0.9, "c": 0.2}

    def damage(kept_out: frozenset[str]) -> float:
        return sum(value for name, value in damages.items() if name not in kept_out)

    found = search(lambda kept_out: kept_out, groups, damage, allowed=0.4, progress=told)  # type: ignore[arg-type,return-value]
    assert found.kept_out == ("b",)
    assert told.of("layers tried alone") == [(done, 3) for done in range(4)]
    assert told.labels[-1] == "finding how many layers to keep out"
