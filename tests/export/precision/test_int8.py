"""What is written into an INT8 graph is what a plain quantiser writes, and it answers as the arithmetic says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from kda_edge.errors import ExportError
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.lint.rules import findings
from kda_edge.export.precision.fp16 import half_graph
from kda_edge.export.precision.int8 import CPU_OPERATORS, SCALE_MIN, Ranges, candidates, quantised_graph
from kda_edge.networks.student import Student

Array = NDArray[Any]
DRAW = np.random.default_rng(0)
WEIGHTS: dict[str, NDArray[np.float32]] = {
    name: DRAW.normal(size=shape).astype(np.float32)
    for name, shape in {
        "stem.w": (4, 3, 1, 1),
        "wise.w": (4, 1, 1, 1),
        "mid.w": (6, 4, 1, 1),
        "mid.b": (6,),
        "mix.w": (6, 5),
        "twin.w": (6, 5),
        "head.w": (1, 5, 1, 1),
    }.items()
}
WEIGHTS["mid.w"][2] = 0.0  # a channel of zeros
RANGES = Ranges("by hand", {"thinned": 1.75, "rows": 2.5})


def tiny_graph() -> onnx.ModelProto:
    """First layer, depthwise, Conv, two MatMul of one activation, last layer; 1x1, so that numpy is a line a layer."""
    nodes = [
        helper.make_node("Conv", ["image", "stem.w"], ["seen"], "stem/Conv_0"),
        helper.make_node("Conv", ["seen", "wise.w"], ["thinned"], "wise/Conv_1", group=4),
        helper.make_node("Conv", ["thinned", "mid.w", "mid.b"], ["maps"], "mid/Conv_2"),
        helper.make_node("Transpose", ["maps"], ["rows"], "mid/Transpose_3", perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["rows", "mix.w"], ["mixed"], "mix/MatMul_4"),
        helper.make_node("MatMul", ["rows", "twin.w"], ["twins"], "mix.twin/MatMul_5"),
        helper.make_node("Mul", ["mixed", "twins"], ["product"], "mix/Mul_6"),
        helper.make_node("Transpose", ["product"], ["back"], "head/Transpose_7", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["back", "head.w"], ["logit"], "head/Conv_8"),
        helper.make_node("Sigmoid", ["logit"], ["probability"], "/Sigmoid_9"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4])
    answer = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 1, 4, 4])
    tensors = [numpy_helper.from_array(value, name) for name, value in WEIGHTS.items()]
    graph = helper.make_graph(nodes, "tiny", [image], [answer], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def constants(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def layers(model: onnx.ModelProto) -> dict[str, tuple[Array, Array, int]]:
    """Quantised layer -> its stored integers, its scales and their axis."""
    values, makers = constants(model), {node.output[0]: node for node in model.graph.node}
    found = {}
    for node in model.graph.node:
        maker = makers.get(node.input[1]) if len(node.input) > 1 else None
        if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in values:
            axis = next(entry.i for entry in maker.attribute if entry.name == "axis")
            found[node.name] = (values[maker.input[0]], values[maker.input[1]], axis)
    return found


def quantised_by_hand(weight: Array, axis: int) -> tuple[Array, Array]:
    """Integers and scales one value at a time; Python's `round` takes halves to even."""
    scales = np.zeros(weight.shape[axis], np.float32)
    stored = np.zeros(weight.shape, np.int8)
    for channel in range(weight.shape[axis]):
        where = [slice(None)] * weight.ndim
        where[axis] = slice(channel, channel + 1)
        values = weight[tuple(where)]
        largest = max(abs(value) for value in values.flat)
        scales[channel] = largest / np.float32(127) if largest > 0 else np.float32(SCALE_MIN)
        whole = [max(-127, min(127, round(float(value / scales[channel])))) for value in values.flat]
        stored[tuple(where)] = np.array(whole, np.int8).reshape(values.shape)
    return stored, scales


def answer_of(model: onnx.ModelProto, image: Array) -> Array:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image})[0])


@pytest.fixture(scope="module")
def ranges(graph: ExportedGraph) -> Ranges:
    """Of the student's graph, drawn: what is written does not hang on where they come from."""
    chosen = set(candidates(graph.model))
    taken = {node.input[0] for node in graph.model.graph.node if node.name in chosen}
    draw = np.random.default_rng(1)
    return Ranges("drawn", {name: float(draw.uniform(1, 20)) for name in sorted(taken)})


@pytest.fixture(scope="module")
def quantised(graph: ExportedGraph, ranges: Ranges) -> onnx.ModelProto:
    return quantised_graph(graph.model, ranges)


def test_stored_weights_and_scales_are_those_of_a_plain_quantiser() -> None:
    found = layers(quantised_graph(tiny_graph(), RANGES))
    assert set(found) == {"mid/Conv_2", "mix/MatMul_4", "mix.twin/MatMul_5"}
    for layer, weight, axis in (("mid/Conv_2", "mid.w", 0), ("mix/MatMul_4", "mix.w", 1)):
        stored, scales = quantised_by_hand(WEIGHTS[weight], axis)
        assert found[layer][2] == axis
        np.testing.assert_array_equal(found[layer][0], stored, strict=True)
        np.testing.assert_array_equal(found[layer][1], scales, strict=True)


def test_halves_are_rounded_to_even() -> None:
    model = tiny_graph()
    weight = np.array([127, 0.5, 1.5, 2.5, -0.5, -1.5], np.float32)[:, None].repeat(5, axis=1)  # scale 1
    model.graph.initializer[4].CopyFrom(numpy_helper.from_array(weight, "mix.w"))
    stored, _, _ = layers(quantised_graph(model, RANGES))["mix/MatMul_4"]
    assert stored[:, 0].tolist() == [127, 0, 2, 2, 0, -2]


def test_the_graph_answers_as_fake_quantisation_in_numpy_does() -> None:
    def fake(values: Array, magnitude: float) -> Array:
        scale = np.float32(magnitude) / np.float32(127)
        return np.clip(np.rint(values / scale), -128, 127) * scale

    def weight(name: str, axis: int) -> Array:
        stored, scales = quantised_by_hand(WEIGHTS[name], axis)
        return stored * np.expand_dims(scales, [a for a in range(stored.ndim) if a != axis])

    image = np.random.default_rng(2).normal(size=(3, 3, 4, 4)).astype(np.float32)
    seen = np.einsum("oc,nchw->nohw", WEIGHTS["stem.w"][:, :, 0, 0], image)
    thinned = seen * WEIGHTS["wise.w"][None, :, 0]
    assert np.abs(thinned).max() > 1.75  # so that clipping is seen too
    maps = np.einsum("oc,nchw->nhwo", weight("mid.w", 0)[:, :, 0, 0], fake(thinned, 1.75)) + WEIGHTS["mid.b"]
    rows = fake(maps, 2.5)
    product = (rows @ weight("mix.w", 1)) * (rows @ weight("twin.w", 1))
    logit = np.einsum("oc,nhwc->nohw", WEIGHTS["head.w"][:, :, 0, 0], product)
    answer = answer_of(quantised_graph(tiny_graph(), RANGES), image)
    np.testing.assert_allclose(answer, 1 / (1 + np.exp(-logit.astype(np.float64))), atol=1e-5)
    assert np.abs(answer - answer_of(tiny_graph(), image)).max() > 1e-3


def test_every_linear_layer_and_convolution_of_the_student_is_chosen_but_for_the_rules(
    graph: ExportedGraph, student: Student
) -> None:
    weighted = {name for name, module in student.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    in_graph = {node.name.rpartition("/")[0] for node in graph.model.graph.node}
    offsets = {name for name in weighted if name.endswith(".offset")}  # of sampling positions
    expected = (weighted & in_graph) - offsets - {"encoder.patch_embed1.proj"}
    assert {name.rpartition("/")[0] for name in candidates(graph.model)} == expected
    assert len(offsets & in_graph) == 4
    products = [
        n.name for n in graph.model.graph.node if n.op_type == "MatMul" and n.name.split("/")[0].endswith("attn")
    ]
    assert len(products) == 16  # scores and values of eight blocks
    assert not set(products) & set(candidates(graph.model))


def test_first_depthwise_and_last_layers_are_not_chosen() -> None:
    assert candidates(tiny_graph()) == ("mid/Conv_2", "mix/MatMul_4", "mix.twin/MatMul_5")
    assert candidates(tiny_graph(), operators=CPU_OPERATORS) == ("mix/MatMul_4", "mix.twin/MatMul_5")


def test_a_gemm_has_its_scales_along_the_outputs(quantised: onnx.ModelProto) -> None:
    stored, scales, axis = layers(quantised)["decoder.GAP1.fc.0/" + gemm_of(quantised, "decoder.GAP1.fc.0")]
    assert (stored.shape, scales.shape, axis) == ((2, 32), (2,), 0)  # stored transposed


def gemm_of(model: onnx.ModelProto, module: str) -> str:
    return next(n.name.split("/")[1] for n in model.graph.node if n.name.startswith(f"{module}/Gemm"))


@pytest.mark.parametrize(
    "kept_out",
    [
        ("encoder.block1.0.mlp",),
        ("encoder.block2", "decoder.CG2"),
        ("encoder.block4.0.attn.kv",),
        ("encoder", "decoder"),
    ],
    ids=str,
)
def test_modules_that_are_kept_out_stay_as_they_were_and_no_others(
    graph: ExportedGraph, ranges: Ranges, kept_out: tuple[str, ...]
) -> None:
    made = quantised_graph(graph.model, ranges, kept_out=kept_out)
    names = candidates(graph.model)
    out = {name for name in names if any(f"{name.split('/')[0]}.".startswith(f"{group}.") for group in kept_out)}
    assert out
    found = layers(made)
    assert set(found) == set(names) - out
    before = {node.name: node for node in graph.model.graph.node}
    assert all(node == before[node.name] for node in made.graph.node if node.name in before and node.name not in found)
    weights, left = constants(graph.model), constants(made)
    for name in out:
        np.testing.assert_array_equal(left[before[name].input[1]], weights[before[name].input[1]])


def test_an_activation_of_several_layers_is_quantised_once(quantised: onnx.ModelProto) -> None:
    found = layers(quantised)
    takers = {n.name.split("/")[0]: n.input[0] for n in quantised.graph.node if n.name in found}
    assert takers["encoder.block4.0.attn.q"] == takers["encoder.block4.0.attn.kv"]
    sources = [node.input[0] for node in quantised.graph.node if node.op_type == "QuantizeLinear"]
    assert len(sources) == len(set(sources)) < len(found)


def test_the_graph_is_one_that_tensorrt_takes(graph: ExportedGraph, quantised: onnx.ModelProto) -> None:
    assert findings(quantised) == []
    values = constants(quantised)
    for node in quantised.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = values[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
            assert zero.shape == values[node.input[1]].shape
        if node.op_type == "QuantizeLinear":
            assert node.input[0] not in values  # weights are stored as integers
    assert {value.dtype for value in values.values()} == {np.dtype(t) for t in (np.int8, np.float32, np.int64)}
    assert set(values) == {name for node in quantised.graph.node for name in node.input} & set(values)
    float_bytes = sum(value.nbytes for value in constants(graph.model).values())
    assert 0.25 < sum(value.nbytes for value in values.values()) / float_bytes < 0.34


def test_half_precision_round_it_leaves_the_integers(quantised: onnx.ModelProto) -> None:
    both = half_graph(quantised)
    assert findings(both) == []
    stored = {name: value for name, value in constants(quantised).items() if value.dtype == np.int8}
    for name, value in constants(both).items():
        if value.dtype == np.int8:
            np.testing.assert_array_equal(value, stored.pop(name))
    assert not stored


def test_equal_inputs_give_equal_bytes_and_leave_the_graph_as_it_was(graph: ExportedGraph, ranges: Ranges) -> None:
    before = graph.model.SerializeToString(deterministic=True)
    kept = ["encoder.block1", "decoder.CG4"]
    one, other = (quantised_graph(graph.model, ranges, kept_out=groups) for groups in (kept, frozenset(kept)))
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    assert graph.model.SerializeToString(deterministic=True) == before
    assert len({node.name for node in one.graph.node}) == len(one.graph.node)


def test_onnxruntime_computes_what_is_quantised_for_the_cpu_in_integers(
    graph: ExportedGraph, ranges: Ranges, tmp_path: Path
) -> None:
    made = quantised_graph(graph.model, ranges, operators=CPU_OPERATORS)
    options = ort.SessionOptions()
    options.log_severity_level = 3  # it warns that the file is for this machine alone
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators.count("MatMulIntegerToFloat") >= 0.9 * len(layers(made))


def missing(ranges: Mapping[str, float]) -> Callable[[], object]:
    return lambda: quantised_graph(tiny_graph(), Ranges("by hand", ranges))


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (lambda: quantised_graph(tiny_graph(), RANGES, kept_out=["mid", "moon"]), "no node .* 'moon'; name a module"),
        (missing({"thinned": 1.0}), "the range of rows was not measured; measure"),
        (missing({"thinned": float("nan"), "rows": 1.0}), "thinned reaches nan .*; check the checkpoint"),
        (missing({"thinned": 1.0, "rows": float("inf")}), "rows reaches inf"),
    ],
    ids=["no such module", "no range", "no number", "infinite"],
)
def test_what_does_not_fit_is_refused_in_one_line(cause: Callable[[], object], message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        cause()
    assert "\n" not in str(caught.value)
