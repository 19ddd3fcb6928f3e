"""Half precision as half hardware computes it, simulated on a CPU, is within what a device's engine is held to."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from places import BUNDLED

from kda_edge.certificate import Budget, Certificate
from kda_edge.export.config import ExportConfig
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.lower_precision import Lowered, in_half
from kda_edge.export.pipeline import export_checkpoint
from kda_edge.export.precision.fp16 import half_graph
from kda_edge.export.verifying.compared_engines import ToEngine, engine_from_student
from kda_edge.export.verifying.half_on_devices import used_on_devices
from kda_edge.export.verifying.parity import Reference
from kda_edge.export.verifying.verifier import Verifier
from kda_edge.manifest import InputContract, Manifest
from kda_edge.networks.student import Student
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.tile_comparison import trial_tiles
from kda_edge.tiling.certificate_tiles import generated_tiles
from kda_edge.tiling.tile_answers import Engine


@pytest.mark.slow
def test_the_bundled_student_in_half_precision_is_within_the_budget_of_a_device(tmp_path: Path) -> None:
    """As `kda-export --fp16` writes it, with what its search keeps in float32."""
    bundled = read_artifact()
    checkpoint = (BUNDLED / bundled.path.name).with_suffix(".pt")
    written = export_checkpoint(ExportConfig(checkpoint, tmp_path / "half.onnx", precision="fp16"))
    graph = onnx.load(written.artifact)
    assert halves(graph) > 10
    assert 0 < used_on_devices(graph, written.manifest) <= 1


TILE_PX = 64
MANIFEST = Manifest(
    *("nano", 1, "0" * 64, TILE_PX, "0.1.0"),
    threshold=0.5,
    precision="fp16",
    certificate=Certificate("0" * 64, Budget(iou_points=0.1), ()),
)


def red(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    return tiles[:, :1] / np.float32(255)


def opened(*engines: Engine) -> ToEngine:
    """Opens these in turn, whatever the graph."""
    waiting = iter(engines)
    return lambda _: next(waiting)


@pytest.mark.parametrize("changed", [0, 1, 4, 5, 40])
def test_the_share_is_that_of_the_worst_tile_alone(changed: int) -> None:
    """5 of a tile's 4096 pixels are more than 0.1 %; of all tiles' together they would be nearly nothing."""
    worst = trial_tiles(MANIFEST)[-1].pixels

    def rounded(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = red(tiles)
        if np.array_equal(tiles[0], worst):
            near = np.argsort(np.abs(answer[0, 0] - 0.5), axis=None)[:changed]  # so that no probability goes far
            answer[0, 0].flat[near] = np.where(answer[0, 0].flat[near] >= 0.5, 0.499, 0.5)
        return answer

    found = used_on_devices(onnx.ModelProto(), MANIFEST, to_engine=opened(red, rounded))
    if changed:
        assert found == pytest.approx(changed / TILE_PX**2 / 0.001)
    assert (found > 1) == (changed > 4)


def test_a_graph_that_rounding_leaves_without_an_answer_is_refused() -> None:
    assert (
        used_on_devices(onnx.ModelProto(), MANIFEST, to_engine=opened(red, lambda tiles: red(tiles) * np.nan))
        == math.inf
    )


def test_a_graph_without_half_uses_nothing(graph: ExportedGraph, contract: InputContract) -> None:
    assert used_on_devices(graph.model, dataclasses.replace(MANIFEST, input=contract)) == 0


def test_layers_are_kept_in_float32_until_devices_take_the_graph(
    student: Student, contract: InputContract, graph: ExportedGraph
) -> None:
    """The certificate's own budget holds from the start."""
    tiles = generated_tiles(contract, TILE_PX)[:2]
    verifier = Verifier(Reference(engine_from_student(student, contract), tiles), contract, tile_px=64, threshold=0.5)
    budget, limit = Budget(iou_points=100.0), halves(half_graph(graph.model)) // 2
    assert not in_half(graph.model, verifier, budget, log=lambda _: None).islands
    asked: list[int] = []

    def on_devices(made: Lowered) -> float:
        asked.append(halves(made.graph))
        return asked[-1] / limit

    found = in_half(graph.model, verifier, budget, log=lambda _: None, on_devices=on_devices)
    assert asked[0] > limit
    assert 0 < halves(found.graph) <= limit
    assert found.islands


def halves(graph: onnx.ModelProto) -> int:
    return sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in graph.graph.initializer)
