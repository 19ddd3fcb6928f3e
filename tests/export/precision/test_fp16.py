"""A graph in half precision: right types, the rules of what stays float32, and the answer it had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from kda_edge.errors import ExportError
from kda_edge.export.graphs.graph_view import FLOAT, FLOAT16, GraphView, is_within
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.precision.fp16 import half_graph
from kda_edge.export.precision.half_plan import half_plan
from kda_edge.export.verifying.compared_engines import engine_from_graph
from kda_edge.export.verifying.half_rounding import rounded_engine

TILE_PX = 64
RandomTiles = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="module")
def half(graph: ExportedGraph) -> GraphView:
    return GraphView.of(half_graph(graph.model))


def float_types(view: GraphView, node: onnx.NodeProto) -> set[int]:
    """In what floating types a node takes and makes tensors."""
    return {view.type_of(name) for name in (*node.input, *node.output)} & {FLOAT, FLOAT16}


def feeding(view: GraphView, tensor: str) -> list[onnx.NodeProto]:
    """Every node that `tensor` depends on, the nearest first, by following the inputs one by one."""
    found: list[onnx.NodeProto] = []
    waiting = [tensor]
    while waiting:
        node = view.producer_of(waiting.pop(0))
        if node is not None and node not in found:
            found.append(node)
            waiting.extend(node.input)
    return found


def until(nodes: list[onnx.NodeProto], *operators: str) -> list[onnx.NodeProto]:
    """The nodes up to the first of these operators, it included."""
    stop = next(place for place, node in enumerate(nodes) if node.op_type in operators)
    return nodes[: stop + 1]


def test_the_graph_is_valid_small_and_takes_and_gives_float32(graph: ExportedGraph, half: GraphView) -> None:
    onnx.checker.check_model(half.model, full_check=True)
    assert half.model.ByteSize() < 0.53 * graph.model.ByteSize()
    assert [half.type_of(name) for name in ("image", "probability")] == [FLOAT, FLOAT]
    assert half.shapes["probability"] == GraphView.of(graph.model).shapes["probability"]


def test_the_answer_stays_with_every_half_rounded(
    graph: ExportedGraph, half: GraphView, random_tiles: RandomTiles
) -> None:
    tiles = random_tiles(3)
    expected = engine_from_graph(graph.model)(tiles)
    assert expected.std() > 0.02
    for engine in (engine_from_graph(half.model), rounded_engine(half.model)):
        loss = np.abs(engine(tiles) - expected).max()
        assert 0 < loss < 0.01


def test_most_layers_are_in_half(half: GraphView) -> None:
    layers = [node for node in half.nodes if node.op_type in ("Conv", "MatMul", "Gemm")]
    kinds = Counter(half.type_of(node.output[0]) for node in layers)
    # nano: 8 attention scores and 4 convolutions of offsets in float32.
    assert kinds[FLOAT] == 12
    assert kinds[FLOAT16] == len(layers) - 12 > 60


@pytest.mark.parametrize("operator", ["Softmax", "LayerNormalization", "GridSample", "ReduceMean", "ReduceSum"])
def test_what_half_would_break_is_in_float32(half: GraphView, operator: str) -> None:
    nodes = [node for node in half.nodes if node.op_type == operator]
    assert nodes
    assert all(float_types(half, node) == {FLOAT} for node in nodes)


def test_attention_scores_are_float32_from_the_casts_of_queries_and_keys(half: GraphView) -> None:
    softmaxes = [node for node in half.nodes if node.op_type == "Softmax" and ".attn" in node.name]
    assert len(softmaxes) == 8
    for softmax in softmaxes:
        product = half.producer_of(softmax.input[0])
        assert product is not None
        assert (product.op_type, float_types(half, product)) == ("MatMul", {FLOAT})
        for operand, steps in zip(product.input, (["Mul", "Cast"], ["Cast"]), strict=True):  # queries are scaled
            chain = until(feeding(half, operand), "Cast")
            assert [node.op_type for node in chain] == steps
            assert float_types(half, chain[-1]) == {FLOAT16, FLOAT}
            assert half.type_of(chain[-1].output[0]) == FLOAT
        (mix,) = half.consumers_of(half.consumers_of(softmax.output[0])[0].output[0])
        assert (mix.op_type, float_types(half, mix)) == ("MatMul", {FLOAT16})


def test_sampling_positions_are_float32_from_the_offsets_convolution_on(half: GraphView) -> None:
    for node in half.nodes:
        if node.op_type == "GridSample":
            chain = until(feeding(half, node.input[1]), "Conv")
            assert chain[-1].name.rpartition("/")[0].endswith(".offset")
            assert len(chain) > 10
            assert all(float_types(half, link) == {FLOAT} for link in chain if float_types(half, link))


def test_pixels_are_normalised_and_logits_summed_in_float32(half: GraphView) -> None:
    first, second = half.nodes[:2]
    assert [first.op_type, second.op_type] == ["Sub", "Div"]
    assert all(float_types(half, node) == {FLOAT} for node in (first, second))
    end = until(feeding(half, "probability"), "GridSample")
    assert [node.op_type for node in end] == ["Sigmoid", "Add", "ReduceSum", "Reshape", "GridSample"]
    projection = until(feeding(half, end[-1].input[0]), "Mul")
    assert all(float_types(half, node) == {FLOAT} for node in (*end, *projection))


def test_pixels_of_65535_do_not_overflow(graph: ExportedGraph) -> None:
    """The largest half is 65504; normalised, the pixels are within 3."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for tensor in model.graph.initializer:
        for step, value in zip(model.graph.node[:2], (30000.0, 12000.0), strict=True):
            if tensor.name == step.input[1]:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), value, np.float32), tensor.name))
    tiles = np.full((1, 3, TILE_PX, TILE_PX), 65535, np.float32)
    tiles[:, :, ::7] = 0
    expected = engine_from_graph(model)(tiles)
    answer = rounded_engine(half_graph(model))(tiles)
    assert np.isfinite(answer).all()
    np.testing.assert_allclose(answer, expected, rtol=0, atol=0.01)


def test_equal_graphs_give_equal_bytes_and_stay_as_they_are(graph: ExportedGraph) -> None:
    before = graph.model.SerializeToString(deterministic=True)
    copy = onnx.ModelProto.FromString(before)
    islands = ["encoder.block2.1.mlp", "decoder/"]
    first, second = half_graph(graph.model, islands=islands), half_graph(copy, islands=islands[::-1])
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert graph.model.SerializeToString(deterministic=True) == before


def test_a_tensor_is_cast_once_in_a_direction_and_never_there_and_back(half: GraphView) -> None:
    casts = [node for node in half.nodes if node.op_type == "Cast"]
    assert max(Counter((node.input[0], half.type_of(node.output[0])) for node in casts).values()) == 1
    assert all(half.type_of(node.input[0]) != half.type_of(node.output[0]) for node in casts)
    makers = [half.producer_of(node.input[0]) for node in casts]
    assert not [maker for maker in makers if maker is not None and maker.op_type == "Cast"]
    assert len({node.name for node in half.nodes}) == len(half.nodes)
    taken = {name for node in half.nodes for name in node.input}
    assert set(half.initializers) <= taken


def test_an_island_computes_in_float32_and_nothing_else_changes(graph: ExportedGraph, half: GraphView) -> None:
    island = "encoder.block2.1.mlp"
    plan = half_plan(graph.model, islands=[island])
    inside = [node.name for node in plan.view.nodes if is_within(node, island)]
    assert len(inside) == 9
    assert {name for name, reason in plan.float_nodes.items() if reason == f"island {island}"} == set(inside)
    assert set(half_plan(graph.model).half_nodes) - set(plan.half_nodes) == set(inside)
    kept = GraphView.of(half_graph(graph.model, islands=[island]))
    assert all(float_types(kept, node) == {FLOAT} for node in kept.nodes if node.name in inside)
    assert plan.counts()["half"] == len(plan.half_nodes)
    assert plan.counts()[f"island {island}"] == 9
    assert sum(plan.counts().values()) == len(plan.half_nodes) + len(plan.float_nodes)


def test_an_island_that_is_not_there_and_a_graph_in_half_are_refused(graph: ExportedGraph, half: GraphView) -> None:
    with pytest.raises(ExportError, match=r"no node of the graph is of the module 'encoder.block9'; name a module"):
        half_graph(graph.model, islands=["encoder.block9"])
    with pytest.raises(ExportError, match=r"in half precision already; give the one in float32"):
        half_graph(half.model)
