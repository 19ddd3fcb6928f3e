"""The rules about number types and quantisation, each with a graph that it takes and graphs that break it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

from kda_edge.errors import ExportError
from kda_edge.export.lint import precision_rules as lint_precision
from kda_edge.export.lint import rules as lint
from kda_edge.export.lint.facts import Facts, Rule

SAMPLING: Mapping[str, Any] = {"mode": "bilinear", "padding_mode": "border", "align_corners": 0}
INT8, UINT8, INT32, HALF = np.int8, np.uint8, np.int32, np.float16
Nodes = Sequence[onnx.NodeProto]


def graph(nodes: Nodes, constants: Mapping[str, Any], answer: str) -> onnx.ModelProto:
    made = helper.make_graph(
        [*nodes, helper.make_node("ReduceMean", [answer, "channels"], ["probability"], name="end")],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 1, 32, 32])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants | {"channels": [1]}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def quantised(
    *,
    scale: ArrayLike = 0.5,
    zero: ArrayLike | None = 0,
    kind: DTypeLike = INT8,
    bias: DTypeLike = None,
    by_channel: int | None = None,
    axis: int = 0,
    weight_scale: ArrayLike | None = None,
) -> onnx.ModelProto:
    """A convolution of 4 channels with its input and weights quantised: by default as TensorRT wants it."""
    zeros = [] if zero is None else ["zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "scale", *zeros], ["image8"], name="conv/Q"),
        helper.make_node("DequantizeLinear", ["image8", "scale", *zeros], ["coarse"], name="conv/DQ"),
        helper.make_node("DequantizeLinear", ["w8", "w_scale"], ["w"], name="conv/DQ_w", axis=axis),
        helper.make_node("Conv", ["coarse", "w"], ["out"], name="conv/Conv"),
    ]
    constants: dict[str, Any] = {
        "scale": np.asarray(scale, np.float32),
        "w8": np.ones((4, 3, 1, 1), np.int8),
        "w_scale": np.float32(0.25) if weight_scale is None else np.asarray(weight_scale),
    }
    if zero is not None:
        constants["zero"] = np.asarray(zero, kind)
    if by_channel is not None:
        constants["w_scale"] = np.full(by_channel, 0.25, np.float32)
    if bias is not None:
        constants |= {"b": np.zeros(4, bias)}
        nodes.insert(3, helper.make_node("DequantizeLinear", ["b", "w_scale"], ["b_wide"], name="conv/DQ_b"))
        nodes[-1].input.append("b_wide")
    return graph(nodes, constants, "out")


def multiplied(axis: int) -> onnx.ModelProto:
    """A product with weights (32, 16) of which each of the axis has a scale."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "w_scale"], ["w"], name="mlp/DQ", axis=axis),
        helper.make_node("MatMul", ["image", "w"], ["narrow"], name="mlp/MatMul"),
        helper.make_node("Concat", ["narrow", "narrow"], ["out"], name="mlp/Concat", axis=3),
    ]
    weights = np.ones((32, 16), np.int8)
    return graph(nodes, {"w8": weights, "w_scale": np.ones(weights.shape[axis], np.float32)}, "out")


def scaled_by_channel_on_the_way() -> onnx.ModelProto:
    model = quantised()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full(3, 0.5, np.float32), "scale"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.int8), "zeros"))
    for node in model.graph.node[:2]:
        node.input[2] = "zeros"
    return model


def scale_computed() -> onnx.ModelProto:
    model = quantised()
    model.graph.node.insert(0, helper.make_node("Relu", ["scale"], ["computed"], name="compute"))
    model.graph.node[1].input[1] = "computed"
    return model


def zero_computed() -> onnx.ModelProto:
    model = quantised()
    model.graph.node.insert(0, helper.make_node("Min", ["zero", "zero"], ["computed"], name="compute"))
    model.graph.node[1].input[2] = "computed"
    return model


def sampled(map_kind: int = TensorProto.FLOAT, grid_kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["image"], ["map"], name="up/Cast", to=map_kind),
        helper.make_node("Cast", ["positions"], ["grid"], name="up/Cast_1", to=grid_kind),
        helper.make_node("GridSample", ["map", "grid"], ["sampled"], name="up/GridSample", **SAMPLING),
        helper.make_node("Cast", ["sampled"], ["out"], name="up/Cast_2", to=TensorProto.FLOAT),
    ]
    return graph(nodes, {"positions": np.zeros((1, 32, 32, 2), np.float32)}, "out")


def in_half(operator: str, half: bool, **settings: Any) -> onnx.ModelProto:
    """`operator` between casts, and something in half beside it in any case."""
    kind = HALF if half else np.float32
    weights = ["gain"] if operator == "LayerNormalization" else []
    nodes = [
        helper.make_node("Cast", ["image"], ["half"], name="block/Cast", to=TensorProto.FLOAT16),
        helper.make_node("Relu", ["half"], ["positive"], name="block/Relu"),
        helper.make_node(
            "Cast", ["positive"], ["taken"], name="block/Cast_1", to=helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        ),
        helper.make_node(operator, ["taken", *weights], ["given"], name=f"block/{operator}_9", **settings),
        helper.make_node("Cast", ["given"], ["out"], name="block/Cast_2", to=TensorProto.FLOAT),
    ]
    return graph(nodes, {"gain": np.ones(32, kind)} if weights else {}, "out")


def with_constant(value: Any, as_node: bool = False) -> onnx.ModelProto:
    """A constant that is used, as an initializer or a Constant node."""
    tensor = numpy_helper.from_array(np.asarray(value), "bias")
    shape = helper.make_node("Cast", ["bias"], ["wide"], name="block/Cast", to=TensorProto.FLOAT)
    add = helper.make_node("Add", ["image", "wide"], ["out"], name="block/Add")
    if as_node:
        return graph(
            [helper.make_node("Constant", [], ["bias"], name="block/Constant", value=tensor), shape, add], {}, "out"
        )
    return graph([shape, add], {"bias": value}, "out")


def casted(kind: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["image"], ["other"], name="block/Cast", to=kind),
        helper.make_node("Cast", ["other"], ["out"], name="block/Cast_1", to=TensorProto.FLOAT),
    ]
    return graph(nodes, {}, "out")


EACH, ON_WEIGHTS = lint_precision.quantisation_is_int8_around_zero, lint_precision.scales_by_channel_are_on_weights
POSITIVE, SUMS = lint_precision.scales_are_positive_constants, lint_precision.sums_of_exponents_and_squares_are_float32
POSITIONS, KNOWN = lint_precision.positions_are_float32, lint_precision.only_known_types
FINITE, NO_BIAS = lint_precision.halves_are_finite, lint_precision.no_quantised_bias
Case = tuple[Rule, Callable[[], onnx.ModelProto], str]
BROKEN: Mapping[str, Case] = {
    "a zero point": (EACH, lambda: quantised(zero=7), "conv/Q has a zero point of 7"),
    "a zero point below 0": (EACH, lambda: quantised(zero=-128), "conv/Q has a zero point of -128"),
    "uint8 around 0": (EACH, lambda: quantised(kind=UINT8), "conv/Q has a quantised side that is uint8"),
    "no zero point, which is uint8": (EACH, lambda: quantised(zero=None), "uint8, not int8, which no zero point means"),
    "a computed zero point": (EACH, zero_computed, "conv/Q has no constant zero point"),
    "a bias of int32": (NO_BIAS, lambda: quantised(bias=INT32), "conv/DQ_b dequantises int32"),
    "channels of an activation": (ON_WEIGHTS, scaled_by_channel_on_the_way, "conv/Q has a scale for each channel"),
    "the inputs of a convolution": (ON_WEIGHTS, lambda: quantised(by_channel=3, axis=1), "conv/Conv needs 0"),
    "too few scales": (ON_WEIGHTS, lambda: quantised(by_channel=3), r"\[3\] scales along axis 0 of \[4, 3, 1, 1\]"),
    "no such axis": (ON_WEIGHTS, lambda: quantised(by_channel=4, axis=4), "along axis 4"),
    "the inputs of a product": (ON_WEIGHTS, lambda: multiplied(axis=0), "mlp/MatMul needs 1"),
    "a scale of 0": (POSITIVE, lambda: quantised(scale=0.0), "conv/Q has a scale that is not above 0"),
    "a scale below 0": (POSITIVE, lambda: quantised(scale=-1.0), "conv/Q has a scale that is not above 0"),
    "an infinite scale": (POSITIVE, lambda: quantised(scale=np.inf), "not above 0 and finite"),
    "a scale that is no number": (POSITIVE, lambda: quantised(scale=np.nan), "not above 0 and finite"),
    "a scale that half lost": (POSITIVE, lambda: quantised(weight_scale=HALF(1e-9)), "conv/DQ_w has a scale"),
    "a computed scale": (POSITIVE, scale_computed, "conv/Q has no constant scale"),
    "positions in half": (
        POSITIONS,
        lambda: sampled(grid_kind=TensorProto.FLOAT16),
        "up/GridSample takes float32 and float16",
    ),
    "a map in half": (POSITIONS, lambda: sampled(map_kind=TensorProto.FLOAT16), "takes float16 and float32"),
    "both in half": (POSITIONS, lambda: sampled(TensorProto.FLOAT16, TensorProto.FLOAT16), "float16 and float16"),
    "a floor in half": (POSITIONS, lambda: in_half("Floor", True), "block/Floor_9 takes a position in float16"),
    "an index from half": (
        POSITIONS,
        lambda: in_half("Cast", True, to=TensorProto.INT32),
        "block/Cast_9 takes a position in float16",
    ),
    "softmax in half": (SUMS, lambda: in_half("Softmax", True), "block/Softmax_9 takes float16"),
    "norm in half": (SUMS, lambda: in_half("LayerNormalization", True), "block/LayerNormalization_9 takes float16"),
    "a norm that narrows": (
        SUMS,
        lambda: in_half("LayerNormalization", False, stash_type=TensorProto.BFLOAT16),
        "block/LayerNormalization_9 normalises in another type",
    ),
    "an infinite half": (FINITE, lambda: with_constant(HALF([1, np.inf])[:1] * HALF(np.inf)), "block/Cast takes bias"),
    "half a number": (FINITE, lambda: with_constant(HALF([np.nan]), as_node=True), "block/Constant makes bias"),
} | {
    f"{words} on the way": (KNOWN, lambda kind=kind: casted(kind), f"block/Cast makes other, which is {words}")  # type: ignore[misc]
    for words, kind in {
        "float64": TensorProto.DOUBLE,
        "bfloat16": TensorProto.BFLOAT16,
        "string": TensorProto.STRING,
        "float8e4m3fn": TensorProto.FLOAT8E4M3FN,
        "uint8": TensorProto.UINT8,
        "int16": TensorProto.INT16,
    }.items()
}
IN_ORDER: Mapping[str, tuple[Rule, Callable[[], onnx.ModelProto]]] = {
    "quantised around 0": (EACH, quantised),
    "a bias in float": (NO_BIAS, quantised),
    "channels of a convolution": (ON_WEIGHTS, lambda: quantised(by_channel=4)),
    "the same, counted from the end": (ON_WEIGHTS, lambda: quantised(by_channel=4, axis=-4)),
    "channels of a product": (ON_WEIGHTS, lambda: multiplied(axis=1)),
    "a scale in half": (POSITIVE, lambda: quantised(scale=1e-3)),
    "sampled in full": (POSITIONS, sampled),
    "an index in full among halves": (POSITIONS, lambda: in_half("Cast", False, to=TensorProto.INT32)),
    "softmax in full among halves": (SUMS, lambda: in_half("Softmax", False)),
    "norm in full among halves": (SUMS, lambda: in_half("LayerNormalization", False)),
    "the greatest half": (FINITE, lambda: with_constant(HALF([65504.0]))),
    "half on the way": (KNOWN, lambda: casted(TensorProto.FLOAT16)),
}
FOR_THE_CPU: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "uint8 around 0": lambda: quantised(kind=UINT8),
    "uint8 without zero points": lambda: quantised(zero=None),
    "uint8 around another point": lambda: quantised(kind=UINT8, zero=113),
    "int8 around another point": lambda: quantised(zero=-7),
    "a bias of int32": lambda: quantised(bias=INT32),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_graph_is_found_by_its_rule_which_names_the_node(name: str) -> None:
    rule, build, words = BROKEN[name]
    model = build()
    assert list(rule(Facts.of(model)))
    with pytest.raises(ExportError, match=words) as caught:
        lint.require_clean(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", IN_ORDER)
def test_a_graph_that_is_in_order_passes_every_rule(name: str) -> None:
    rule, build = IN_ORDER[name]
    model = build()
    onnx.checker.check_model(model, full_check=True)
    assert list(rule(Facts.of(model))) == []
    assert lint.findings(model) == []
    assert lint.findings(model, "cpu") == []


def test_every_rule_about_precision_has_a_graph_that_breaks_it_and_one_that_it_takes() -> None:
    rules = set(lint_precision.PRECISION_RULES)
    assert {rule for rule, _, _ in BROKEN.values()} == {rule for rule, _ in IN_ORDER.values()} == rules


@pytest.mark.parametrize("name", FOR_THE_CPU)
def test_a_graph_for_the_cpu_may_have_what_its_kernels_want_and_tensorrt_refuses(name: str) -> None:
    model = FOR_THE_CPU[name]()
    onnx.checker.check_model(model, full_check=True)
    assert lint.findings(model, target="cpu") == []
    assert lint.findings(model, target="tensorrt") == lint.findings(model) != []


@pytest.mark.parametrize(
    "name",
    sorted(
        BROKEN.keys()
        - {"a zero point", "a zero point below 0", *FOR_THE_CPU}
        - {"no zero point, which is uint8", "uint8 on the way"}
    ),
)
def test_a_graph_for_the_cpu_is_held_to_all_other_rules(name: str) -> None:
    rule, build, _ = BROKEN[name]
    assert list(rule(Facts.of(build(), "cpu")))
