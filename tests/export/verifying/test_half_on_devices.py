"""Half precision as half hardware computes it, simulated on a CPU, is within what a device's engine is held to."""

from __future__ import annotations

import dataclasses

import onnx
import pytest

from kda_edge.certificate import Budget
from kda_edge.export.precision.fp16 import half_graph
from kda_edge.export.verifying.compared_engines import engine_from_graph
from kda_edge.export.verifying.half_rounding import rounded_graph
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.parity.device_parity import parity_with_cpu
from kda_edge.runtime.parity.gather_sampling import gathered


@pytest.mark.slow
def test_the_bundled_student_in_rounded_half_precision_is_within_the_budget_of_a_device() -> None:
    artifact = read_artifact()
    assert artifact.manifest.certificate is not None
    certificate = dataclasses.replace(artifact.manifest.certificate, budget=Budget(iou_points=0.1))
    manifest = dataclasses.replace(artifact.manifest, precision="fp16", certificate=certificate)
    graph = gathered(half_graph(onnx.load(artifact.path)))
    cpu, device = engine_from_graph(graph), engine_from_graph(rounded_graph(graph))
    parity = parity_with_cpu(cpu, device, manifest, engine="tensorrt", sampling="gather", depends_on={})
    assert max(tile.max_abs for tile in parity.tiles) > 1e-4, "nothing was rounded"
    assert parity.against_it == ""
