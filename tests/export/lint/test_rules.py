from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kda_edge.errors import ExportError
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.lint import precision_rules as lint_precision
from kda_edge.export.lint import rules as lint
from kda_edge.export.lint.facts import Facts, Rule

SAMPLING: dict[str, Any] = {"mode": "bilinear", "padding_mode": "border", "align_corners": 0}
LINEAR: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
NEAREST: dict[str, Any] = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


def clean() -> onnx.ModelProto:
    """The smallest graph that every rule accepts: one band, sampled at fixed positions."""
    grid = np.zeros((1, 32, 32, 2), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["image", "first"], ["band"], name="pick", axis=1),
            helper.make_node("GridSample", ["band", "grid"], ["probability"], name="sample", **SAMPLING),
        ],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 1, 32, 32])],
        [numpy_helper.from_array(np.array([0]), "first"), numpy_helper.from_array(grid, "grid")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def sampling(**changed: object) -> onnx.ModelProto:
    model = clean()
    del model.graph.node[1].attribute[:]
    model.graph.node[1].attribute.extend(helper.make_attribute(k, v) for k, v in (SAMPLING | changed).items())
    return model


def with_node(node: onnx.NodeProto) -> onnx.ModelProto:
    model = clean()
    model.graph.node.append(node)
    return model


def resizing(settings: Mapping[str, object], factors: list[float] | None = None, **changed: object) -> onnx.ModelProto:
    """The clean graph with a Resize beside it, by constant factors."""
    resize = helper.make_node("Resize", ["image", "", "factors"], ["x"], name="resize", **(dict(settings) | changed))
    model = with_node(resize)
    constant = np.array([1, 1, 2, 2] if factors is None else factors, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(constant, "factors"))
    return model


def resizing_to_a_constant_size() -> onnx.ModelProto:
    model = resizing(LINEAR)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 3, 64, 64]), "sizes"))
    del model.graph.node[-1].input[2]
    model.graph.node[-1].input.extend(["", "sizes"])
    return model


def resizing_by_computed_factors() -> onnx.ModelProto:
    model = resizing(LINEAR)
    model.graph.node[-1].input[2] = "computed"
    model.graph.node.insert(2, helper.make_node("Relu", ["factors"], ["computed"], name="compute"))
    return model


def with_foreign_node() -> onnx.ModelProto:
    model = with_node(helper.make_node("FusedGemm", ["image"], ["x"], domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def with_barred(operator: str) -> onnx.ModelProto:
    body = helper.make_graph([], "body", [], [])
    bodies = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}.get(operator, ())
    return with_node(helper.make_node(operator, ["image"] * 3, ["x"], name="left", **dict.fromkeys(bodies, body)))


def with_ir_version(version: int) -> onnx.ModelProto:
    model = clean()
    model.ir_version = version
    return model


def with_opset(version: int, domain: str = "") -> onnx.ModelProto:
    model = clean()
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, version))
    else:
        model.opset_import[0].version = version
    return model


def with_function() -> onnx.ModelProto:
    model = clean()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(helper.make_function("", "Mine", ["a"], ["b"], body, [helper.make_opsetid("", 19)]))
    return model


def with_double_constant() -> onnx.ModelProto:
    model = clean()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2), "double"))
    return model


def with_constant_outside() -> onnx.ModelProto:
    model = clean()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return model


def in_five_dimensions() -> onnx.ModelProto:
    model = clean()
    model.graph.node[1].input[0] = "deep"
    model.graph.node.insert(1, helper.make_node("Unsqueeze", ["band", "first"], ["deep"]))
    return model


def with_port(which: str, kind: int, shape: list[Any], name: str = "") -> onnx.ModelProto:
    model = clean()
    ports = getattr(model.graph, which)
    ports[0].CopyFrom(helper.make_tensor_value_info(name or ports[0].name, kind, shape))
    return model


def with_second_input() -> onnx.ModelProto:
    model = clean()
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    return model


FLOAT = TensorProto.FLOAT
BROKEN: Mapping[str, tuple[Rule, Callable[[], onnx.ModelProto], str]] = {
    "opset 20": (lint.opset_is_19, lambda: with_opset(20), r"opset \[20\]"),
    "opset 17": (lint.opset_is_19, lambda: with_opset(17), r"opset \[17\]"),
    "IR 11": (lint.ir_version_is_old_enough, lambda: with_ir_version(11), "IR version 11"),
    "foreign import": (lint.only_the_default_domain, lambda: with_opset(1, "com.microsoft"), "com.microsoft"),
    "foreign node": (
        lint.only_the_default_domain,
        with_foreign_node,
        "com.microsoft",
    ),
    "own function": (lint.only_the_default_domain, with_function, "Mine"),
    "strange operator": (
        lint.only_listed_operators,
        lambda: with_node(helper.make_node("Einsum", ["image"], ["x"], name="sum", equation="ijkl->ij")),
        "sum is a Einsum",
    ),
    "constant elsewhere": (lint.no_data_outside, with_constant_outside, "pick takes first, which lies outside"),
    "nearest sampling": (
        lint.grid_samples_are_bilinear_in_4d,
        lambda: sampling(mode="nearest"),
        "sample samples in mode nearest",
    ),
    "opset 20's word": (lint.grid_samples_are_bilinear_in_4d, lambda: sampling(mode="linear"), "mode linear"),
    "zero padding": (lint.grid_samples_are_bilinear_in_4d, lambda: sampling(padding_mode="zeros"), "border"),
    "aligned corners": (lint.grid_samples_are_bilinear_in_4d, lambda: sampling(align_corners=1), "corners"),
    "5-D sampling": (lint.grid_samples_are_bilinear_in_4d, in_five_dimensions, r"\[5, 4\] dimensions"),
    "cubic resizing": (lint.resizes_are_exact, lambda: resizing(LINEAR, mode="cubic"), "resize resizes in mode cubic"),
    "resizing between corners": (
        lint.resizes_are_exact,
        lambda: resizing(LINEAR, coordinate_transformation_mode="align_corners"),
        "linear with align_corners",
    ),
    "bilinear from the corner": (
        lint.resizes_are_exact,
        lambda: resizing(LINEAR, coordinate_transformation_mode="asymmetric"),
        "linear with asymmetric",
    ),
    "nearest between centres": (
        lint.resizes_are_exact,
        lambda: resizing(NEAREST, coordinate_transformation_mode="half_pixel"),
        "nearest with half_pixel",
    ),
    "nearest by rounding": (
        lint.resizes_are_exact,
        lambda: resizing(NEAREST, nearest_mode="round_prefer_floor"),
        "floor",
    ),
    "smooth resizing": (lint.resizes_are_exact, lambda: resizing(LINEAR, antialias=1), "antialias"),
    "resizing without the outside": (lint.resizes_are_exact, lambda: resizing(LINEAR, exclude_outside=1), "outside"),
    "resizing of named axes": (lint.resizes_are_exact, lambda: resizing(LINEAR, axes=[0, 1, 2, 3]), "named axes"),
    "constant size": (lint.resizes_are_exact, resizing_to_a_constant_size, "no constant factors"),
    "computed factors": (lint.resizes_are_exact, resizing_by_computed_factors, "no constant factors"),
    "factor that rounds": (lint.resizes_are_exact, lambda: resizing(LINEAR, [1, 1, 2, 1.3]), "1.29"),
    "factor of a third": (lint.resizes_are_exact, lambda: resizing(LINEAR, [1, 1, 1 / 3, 1]), "0.33"),
    "resized channels": (lint.resizes_are_exact, lambda: resizing(LINEAR, [1, 2, 1, 1]), r"\[1.0, 2.0"),
    "double constant": (lint_precision.only_known_types, with_double_constant, "double is float64"),
    "double on the way": (
        lint_precision.only_known_types,
        lambda: with_node(helper.make_node("Cast", ["image"], ["wide"], name="widen", to=TensorProto.DOUBLE)),
        "widen makes wide, which is float64",
    ),
    "float16 input": (
        lint.interface_is_the_contract,
        lambda: with_port("input", TensorProto.FLOAT16, ["batch", 3, 32, 32]),
        "image is not float32",
    ),
    "open tile": (
        lint.interface_is_the_contract,
        lambda: with_port("input", FLOAT, ["batch", 3, "height", "width"]),
        "fixed T",
    ),
    "two classes": (
        lint.interface_is_the_contract,
        lambda: with_port("output", FLOAT, ["batch", 2, 32, 32]),
        "fixed T",
    ),
    "other name": (
        lint.interface_is_the_contract,
        lambda: with_port("output", FLOAT, ["batch", 1, 32, 32], "logits"),
        "logits",
    ),
    "second input": (lint.interface_is_the_contract, with_second_input, "more"),
} | {
    f"{operator} left": (
        lint.no_barred_operator,
        functools.partial(with_barred, operator),
        f"left is a {operator}",
    )
    for operator in lint.BARRED
}


def test_the_clean_graph_passes_every_rule() -> None:
    assert lint.findings(clean()) == []
    lint.require_clean(clean())


@pytest.mark.parametrize("factors", [[1, 1, 2, 2], [1, 1, 0.25, 0.5], [1, 1, 3, 7], [1, 1, 1, 1]], ids=str)
@pytest.mark.parametrize(
    "settings",
    [LINEAR, LINEAR | {"coordinate_transformation_mode": "pytorch_half_pixel"}, NEAREST],
    ids=["half pixel", "PyTorch's half pixel", "nearest"],
)
def test_a_resize_as_pytorch_means_it_by_an_exact_constant_factor_is_taken(
    settings: Mapping[str, object], factors: list[float]
) -> None:
    assert lint.findings(resizing(settings, factors)) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_graph_is_found_by_its_rule_and_refused_in_one_line(name: str) -> None:
    rule, build, words = BROKEN[name]
    model = build()
    found = list(rule(Facts.of(model)))
    assert len(found) == 1
    with pytest.raises(ExportError, match=words) as caught:
        lint.require_clean(model)
    assert "\n" not in str(caught.value)


def test_every_rule_has_a_graph_that_breaks_it() -> None:
    broken = {rule for rule, _, _ in BROKEN.values()}
    assert broken | set(lint_precision.PRECISION_RULES) == set(lint.RULES)  # those: test_lint_precision.py


def test_an_exported_student_passes_every_rule(graph: ExportedGraph) -> None:
    assert lint.findings(graph.model) == []
