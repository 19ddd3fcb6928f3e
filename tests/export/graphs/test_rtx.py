"""NVIDIA's compiler takes what we export, for the architectures of an RTX 3090 (SM86) and 4090 (SM89), without a GPU.

What this proves: TensorRT for RTX 1.7 parses and compiles `nano` and `base` in every precision, samples GridSample
bilinearly, and computes each weighted node in the type that is written in the graph. What it does not: speed, what an
engine answers with, Orin (sm_87), DLA, or the parser of TensorRT 10.3, which refuses more (`export/lint` knows).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rtx
import torch
from nano_graph import nano_graph
from onnx import TensorProto, helper, numpy_helper

from kda_edge.export.graphs.graph_view import GraphView
from kda_edge.export.graphs.to_onnx import onnx_from_student
from kda_edge.export.lint import rules as lint
from kda_edge.export.precision.fp16 import half_graph
from kda_edge.export.precision.int8 import Ranges, candidates, quantised_graph
from kda_edge.manifest import InputContract
from kda_edge.networks.student import Student
from kda_edge.runtime.parity.gather_sampling import gathered

pytestmark = pytest.mark.slow
BASE_TILE_PX = 224
SAMPLERS = 4  # GridSamples of a student
WEIGHTED = ("Conv", "MatMul", "Gemm")
DATATYPES = {TensorProto.FLOAT: "Float", TensorProto.FLOAT16: "Half"}
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> None:
    reason = rtx.unavailable()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def graphs() -> Callable[[str], onnx.ModelProto]:
    """Students in float32 by name: `nano` that learned, and `base` with the weights of a seed, for one small tile."""
    made: dict[str, onnx.ModelProto] = {}

    def make(name: str) -> onnx.ModelProto:
        if name not in made and name == "nano":
            made[name] = nano_graph()
        elif name not in made:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                made[name] = onnx_from_student(Student(name).eval(), InputContract(), BASE_TILE_PX).model
        return made[name]

    return make


def in_precision(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    if precision == "fp32":
        return model
    if precision == "fp16":
        return half_graph(model)
    chosen = set(candidates(model))
    # Invented: which kernels are compiled does not hang on how far an activation reaches.
    reach = {node.input[0]: 4.0 for node in model.graph.node if node.name in chosen}
    return half_graph(quantised_graph(model, Ranges("invented", reach)))


def for_one_tile(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with a batch of 1, which compiles in half the time."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for port in (*fixed.graph.input, *fixed.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    return fixed


def weighted_by_type(model: onnx.ModelProto) -> Mapping[str, set[str]]:
    """The nodes that multiply, by the type that the graph says they are to compute in."""
    view = GraphView.of(model)
    found: dict[str, set[str]] = {"Float": set(), "Half": set(), "Int8": set()}
    for node in view.nodes:
        if node.op_type in WEIGHTED:
            makers = [view.producer_of(name) for name in node.input[:2]]
            both = all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)
            found["Int8" if both else DATATYPES[view.type_of(node.input[0])]].add(node.name)
    return found


def require_types_of_the_graph(answer: rtx.Compiled, model: onnx.ModelProto) -> None:
    """Each weighted node is in a kernel that takes its type, and in none of a narrower one; so the counts hold too."""
    wanted = weighted_by_type(model)
    weighted = set().union(*wanted.values())
    int8, half = answer.nodes_in("Int8") & weighted, answer.nodes_in("Half") & weighted
    assert int8 == wanted["Int8"]
    assert wanted["Half"] <= half
    assert not half & wanted["Float"]
    assert wanted["Float"] <= answer.nodes_in("Float")
    # A kernel is of one weighted node or of some that were fused: never more kernels that multiply than such nodes.
    for datatype, names in wanted.items():
        multiply = [kernel for kernel in answer.taking(datatype) if kernel.kind != "kgen" and kernel.nodes & names]
        assert bool(multiply) == bool(names)
        assert len(multiply) <= len(names)


@pytest.mark.parametrize(
    ("name", "precision", "architecture"),
    [
        ("nano", "fp32", "SM86"),
        ("nano", "fp16", "SM86"),
        ("nano", "fp16", "SM89"),
        ("nano", "int8", "SM89"),
        ("base", "fp32", "SM89"),
        ("base", "fp16", "SM86"),
        ("base", "int8", "SM89"),
    ],
)
def test_a_student_compiles_with_bilinear_sampling_and_the_types_of_its_graph(
    name: str, precision: str, architecture: str, graphs: Callable[[str], onnx.ModelProto], tmp_path: Path
) -> None:
    model = in_precision(graphs(name), precision)
    assert lint.findings(model) == []
    wanted = weighted_by_type(model)
    assert {"fp32": "Float", "fp16": "Half", "int8": "Int8"}[precision] == max(wanted, key=lambda key: len(wanted[key]))
    answer = rtx.compiled(for_one_tile(model), architecture, tmp_path)
    assert answer.errors == ()
    assert answer.engine_bytes > 0
    assert list(answer.interpolation.values()) == ["LINEAR"] * SAMPLERS
    require_types_of_the_graph(answer, model)
    if precision == "fp32":
        assert not answer.taking("Half")
        assert not answer.taking("Int8")


def test_int8_compiles_with_the_batch_left_a_symbol(graphs: Callable[[str], onnx.ModelProto], tmp_path: Path) -> None:
    model = in_precision(graphs("nano"), "int8")
    answer = rtx.compiled(model, "SM86", tmp_path)
    assert answer.engine_bytes > 0
    require_types_of_the_graph(answer, model)


def test_sampling_by_gathers_compiles_in_half_precision_with_no_grid_sample_left(
    graphs: Callable[[str], onnx.ModelProto], tmp_path: Path
) -> None:
    model = gathered(in_precision(graphs("nano"), "fp16"))
    assert lint.findings(model) == []
    answer = rtx.compiled(for_one_tile(model), "SM86", tmp_path)
    assert answer.engine_bytes > 0
    assert answer.interpolation == {}
    require_types_of_the_graph(answer, model)


def small(
    nodes: Sequence[onnx.NodeProto],
    shapes: Mapping[str, Any],
    constants: Mapping[str, Any],
    opset: int,
    domain: str = "",
) -> onnx.ModelProto:
    """Nodes from inputs of these types and shapes to `out`."""
    ports = {name: helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in shapes.items()}
    graph = helper.make_graph(
        nodes,
        "small",
        [port for name, port in ports.items() if name != "out"],
        [ports["out"]],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def sampling(opset: int = 19, mode: str = "bilinear", map_kind: int = FLOAT) -> onnx.ModelProto:
    node = helper.make_node("GridSample", ["map", "grid"], ["out"], name="sample", mode=mode, padding_mode="border")
    shapes = {"map": (map_kind, [1, 2, 8, 8]), "grid": (FLOAT, [1, 9, 9, 2]), "out": (map_kind, [1, 2, 9, 9])}
    return small([node], shapes, {}, opset)


def attention() -> onnx.ModelProto:
    node = helper.make_node("Attention", ["q", "k", "v"], ["out"], name="attend")
    return small([node], dict.fromkeys(("q", "k", "v", "out"), (FLOAT, [1, 2, 8, 4])), {}, 23)


def of_microsoft() -> onnx.ModelProto:
    node = helper.make_node("FastGelu", ["x"], ["out"], name="fuse", domain="com.microsoft")
    return small([node], dict.fromkeys(("x", "out"), (FLOAT, [1, 8])), {}, 19, "com.microsoft")


def quantised(zero: Any, bias: Any) -> onnx.ModelProto:
    """A product with everything quantised, in the way of ONNX Runtime's quantiser if the bias is int32."""
    quantised_bias = np.asarray(bias).dtype == np.int32
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["x8"], name="q"),
        helper.make_node("DequantizeLinear", ["x8", "s", "zero"], ["xd"], name="dq"),
        helper.make_node("DequantizeLinear", ["w", "s"], ["wd"], name="dq_w"),
        *([helper.make_node("DequantizeLinear", ["b", "s"], ["bd"], name="dq_b")] if quantised_bias else []),
        helper.make_node("Conv", ["xd", "wd", "bd" if quantised_bias else "b"], ["out"], name="conv"),
    ]
    constants = {"s": np.float32(0.1), "zero": zero, "w": np.ones((16, 16, 1, 1), np.int8), "b": bias}
    return small(nodes, dict.fromkeys(("x", "out"), (FLOAT, [1, 16, 8, 8])), constants, 19)


def test_nearest_sampling_would_be_seen(tmp_path: Path) -> None:
    """So that LINEAR says something above."""
    nearest = sampling(mode="nearest")
    assert rtx.compiled(nearest, "SM86", tmp_path).interpolation == {"sample": "NEAREST"}
    assert any("samples in mode nearest" in line for line in lint.findings(nearest))


def test_opset_20_which_tensorrt_10_misreads_is_the_lints_to_refuse(tmp_path: Path) -> None:
    """TensorRT 10 and this compiler's 1.4 and 1.5 take such a GridSample for nearest; its 1.7 does not any more."""
    newer = sampling(opset=20, mode="linear")
    assert rtx.compiled(newer, "SM86", tmp_path).interpolation == {"sample": "LINEAR"}
    assert any("opset [20]" in line for line in lint.findings(newer))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(sampling(map_kind=HALF), "sample takes float16 and float32", id="a map in half"),
        pytest.param(attention(), "attend is a Attention", id="attention"),
        pytest.param(of_microsoft(), "'com.microsoft' is used by fuse", id="foreign operator"),
        pytest.param(quantised(np.int8(0), np.zeros(16, np.int32)), "dq_b dequantises int32", id="bias of int32"),
        pytest.param(quantised(np.int8(3), np.zeros(16, np.float32)), "q has a zero point of 3", id="zero point"),
    ],
)
def test_what_the_compiler_refuses_the_lint_has_found(model: onnx.ModelProto, words: str, tmp_path: Path) -> None:
    answer = rtx.compiled(model, "SM86", tmp_path)
    assert answer.errors
    assert answer.engine_bytes == 0
    assert any(words in line for line in lint.findings(model))


def test_the_lint_refuses_what_this_compiler_takes_and_tensorrt_10_3_does_not(tmp_path: Path) -> None:
    model = quantised(np.uint8(0), np.zeros(16, np.float32))
    assert rtx.compiled(model, "SM86", tmp_path).errors == ()
    assert any("uint8, not int8" in line for line in lint.findings(model))
