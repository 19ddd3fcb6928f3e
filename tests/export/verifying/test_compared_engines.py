"""A second engine reads every precision as ONNX Runtime does: what a graph means is in the file, not in one engine.

Not shown: speed, and OpenVINO's own bfloat16 and half, which are switched off here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from kda_edge.errors import ExportError
from kda_edge.export.graphs.ordered_sums import with_ordered_sums
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.precision.fp16 import half_graph
from kda_edge.export.precision.int8 import CPU_OPERATORS, OPERATORS, quantised_graph
from kda_edge.export.precision.ranges import measured_ranges
from kda_edge.export.verifying.compared_engines import engine_from_graph, engines_on_cpu, openvino_engine_from_graph
from kda_edge.manifest import InputContract
from kda_edge.runtime.engines.cpu_engines import openvino_version
from kda_edge.runtime.parity.gather_sampling import gathered
from kda_edge.tiling.certificate_tiles import generated_tiles

if not openvino_version():
    pytest.skip("OpenVINO has no wheel for this platform", allow_module_level=True)

TILE_PX = 64


@pytest.fixture(scope="module")
def graphs(graph: ExportedGraph, contract: InputContract) -> dict[str, onnx.ModelProto]:
    model = graph.model
    ranges = measured_ranges(model, generated_tiles(contract, TILE_PX)[:4], "minmax")
    return {
        "fp32": model,
        "fp32 as written": with_ordered_sums(gathered(model)),
        "fp16": half_graph(model),
        "int8 for CPUs": quantised_graph(model, ranges, operators=CPU_OPERATORS),
        "int8 for TensorRT": half_graph(quantised_graph(model, ranges, operators=OPERATORS)),
    }


# Float sums are ordered otherwise; a half or an int8 that falls on the other side of a step moves what follows.
MEAN_ABS = {
    "fp32": 1e-6,
    "fp32 as written": 1e-6,
    "fp16": 1e-3,
    "int8 for CPUs": 2e-3,
    "int8 for TensorRT": 1e-2,
}


@pytest.mark.parametrize("precision", MEAN_ABS)
def test_openvino_answers_as_onnx_runtime_does(
    precision: str,
    graphs: dict[str, onnx.ModelProto],
    random_tiles: Callable[..., NDArray[np.float32]],
) -> None:
    tiles = random_tiles(2)
    answer = openvino_engine_from_graph(graphs[precision])(tiles)
    expected = engine_from_graph(graphs[precision])(tiles)
    assert answer.shape == expected.shape
    assert expected.std() > 0.05  # or any two answers would be near
    distance = np.abs(answer - expected)
    assert distance.mean() <= MEAN_ABS[precision], f"mean {distance.mean():g}, largest {distance.max():g}"


def test_openvino_says_in_one_line_what_it_refuses(graphs: dict[str, onnx.ModelProto]) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(graphs["fp32"])
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match=r"OpenVINO .* refuses the graph") as caught:
        openvino_engine_from_graph(broken)
    assert "\n" not in str(caught.value)


def test_the_gate_of_int8_asks_every_engine_of_the_cpu() -> None:
    names = [name.split()[0] for name in engines_on_cpu()]
    assert names == ["ONNX", "OpenVINO"]
