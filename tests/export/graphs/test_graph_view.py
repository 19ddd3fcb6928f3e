"""An index of a graph says what the graph says."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx_graphs import parsed

from kda_edge.errors import ExportError
from kda_edge.export.graphs.graph_view import FLOAT, UNKNOWN, GraphView, is_within, module_of
from kda_edge.export.graphs.to_onnx import ExportedGraph


@pytest.fixture(scope="module")
def view(graph: ExportedGraph) -> GraphView:
    return GraphView.of(graph.model)


@pytest.fixture(scope="module")
def small() -> GraphView:
    model = parsed(
        """
        # a.b
        sum = Add(x, k)
        # a
        low, high = Split<axis=1, num_outputs=2>(sum)
        square = Mul(low, low)
        # a.bc
        c = Constant<value = float[1] {2.0}>()
        # a.b.d
        y = Mul(square, c)
        """,
        given="float[n,4] x",
        made="float[n,2] y",
        constants={"k": np.ones(4, np.float32), "unused": np.ones(3, np.int64)},
    )
    return GraphView.of(model)


def test_makers_and_takers_are_those_that_a_look_at_every_node_finds(view: GraphView) -> None:
    nodes = [(node.name, set(node.input), set(node.output)) for node in view.model.graph.node]
    for name in set().union(*(inputs | outputs for _, inputs, outputs in nodes)):
        assert [node.name for node in view.consumers_of(name)] == [at for at, inputs, _ in nodes if name in inputs]
        maker = view.producer_of(name)
        assert ([] if maker is None else [maker.name]) == [at for at, _, outputs in nodes if name in outputs]


def test_types_and_shapes_are_those_of_the_tensors_that_onnx_runtime_makes(view: GraphView) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(view.model)
    names = [name for node in model.graph.node for name in node.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in view.output_names)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    side_px = view.shapes["image"][2]
    values = session.run(names, {"image": np.zeros((2, 3, side_px, side_px), np.float32)})
    for name, value in zip(names, values, strict=True):
        assert onnx.helper.tensor_dtype_to_np_dtype(view.type_of(name)) == value.dtype
        sides = zip(view.shapes[name], value.shape, strict=True)
        assert all(not isinstance(dim, int) or dim == side for dim, side in sides)


def test_a_small_graph_is_known_in_every_part(small: GraphView) -> None:
    assert (small.input_names, small.output_names) == (("x",), ("y",))
    assert small.consumers["low"] == (2,)  # taken twice by one node
    assert "high" not in small.consumers
    assert small.shapes["low"] == ("n", 2)
    assert small.type_of("k") == FLOAT
    assert small.type_of("nothing") == UNKNOWN
    assert small.is_float("sum")
    assert not small.is_float("unused")
    assert not small.is_float("")
    assert [small.is_constant(name) for name in ("x", "k", "c", "sum")] == [False, True, True, False]
    np.testing.assert_array_equal(small.constant("k"), np.ones(4))
    np.testing.assert_array_equal(small.constant("c"), [2.0])
    assert small.constant("sum") is None


def test_walks_go_as_far_as_they_are_let(small: GraphView) -> None:
    assert list(small.before(4)) == [2, 3]
    assert list(small.after(1)) == [2]
    assert small.reached([4], small.before, lambda _: True) == {0, 1, 2, 3, 4}
    assert small.reached([4], small.before, lambda index: index != 2) == {2, 3, 4}
    assert small.reached([0], small.after, lambda index: index != 0) == {0, 1, 2, 4}
    assert small.reached([], small.after, lambda _: True) == set()


def test_a_module_holds_its_own_nodes_and_those_below_and_no_namesake(small: GraphView) -> None:
    assert [module_of(node) for node in small.nodes] == ["a.b", "a", "a", "a.bc", "a.b.d"]
    within = {group: [is_within(node, group) for node in small.nodes] for group in ("a.b", "a", "a/", "/")}
    assert within == {
        "a.b": [True, False, False, False, True],
        "a": [True] * 5,
        "a/": [False, True, True, False, False],
        "/": [False] * 5,
    }
    assert module_of(onnx.NodeProto(name="Add_3")) == ""


def test_a_graph_with_a_branch_is_refused() -> None:
    graph = onnx.helper.make_graph([], "branch", [], [onnx.helper.make_tensor_value_info("t", FLOAT, [1])])
    model = parsed("y = Relu(x)", given="float[1] x", made="float[1] y")
    model.graph.node.insert(
        0, onnx.helper.make_node("If", ["c"], ["t"], name="m/If_0", then_branch=graph, else_branch=graph)
    )
    with pytest.raises(ExportError, match=r"m/If_0 holds a graph of its own; export a straight graph"):
        GraphView.of(model)


def test_types_that_contradict_one_another_are_refused_in_one_line() -> None:
    model = parsed("y = Add(x, k)", given="float[2] x", made="float[2] y", constants={"k": np.ones(2, np.int64)})
    with pytest.raises(ExportError, match=r"types of the graph contradict") as refusal:
        GraphView.of(model)
    assert "\n" not in str(refusal.value)
