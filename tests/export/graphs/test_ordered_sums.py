"""A sum or mean of maps has one order, whatever the threads and the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx_graphs import parsed

from kda_edge.export.config import BudgetConfig, ExportConfig
from kda_edge.export.graphs.ordered_sums import MOST, with_ordered_sums
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.pipeline import ExportReport, export_checkpoint
from kda_edge.runtime.engines.cpu_engines import openvino_version
from kda_edge.runtime.engines.onnxruntime_engine import session_options
from kda_edge.runtime.opened_engine import open_engine


def sum_graph(shape: str, axes: list[int], made: str, keepdims: int, operator: str = "ReduceSum") -> onnx.ModelProto:
    return parsed(
        f"# decoder\ntotal = {operator} <keepdims = {keepdims}> (maps, axes)",
        given=f"float{shape} maps",
        made=f"float{made} total",
        constants={"axes": np.array(axes, np.int64)},
    )


def answer(graph: onnx.ModelProto, maps: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
    session = ort.InferenceSession(graph.SerializeToString(), session_options(threads=threads))
    return np.asarray(session.run(None, {"maps": maps})[0], np.float32)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [1, -3])
def test_the_addends_are_added_one_by_one_in_order(axis: int, keepdims: int) -> None:
    made = "[n,1,5,7]" if keepdims else "[n,5,7]"
    graph = with_ordered_sums(sum_graph("[n,4,5,7]", [axis], made, keepdims))
    onnx.checker.check_model(graph, full_check=True)
    maps = np.random.default_rng(0).normal(0, 1, (3, 4, 5, 7)).astype(np.float32)
    expected = ((maps[:, 0] + maps[:, 1]) + maps[:, 2]) + maps[:, 3]
    np.testing.assert_array_equal(answer(graph, maps), expected[:, None] if keepdims else expected)
    assert not {tensor.name for tensor in graph.graph.initializer} & {"axes"}
    names = [node.name for node in graph.graph.node]
    assert len(set(names)) == len(names)
    assert all(name.startswith("decoder/ReduceSum_0_") for name in names)


def in_halves(addends: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The sum as it is promised: halves are added while there are more than 8, what an odd length leaves at the end."""
    over = []
    while len(addends) > MOST:
        half = len(addends) // 2
        over += addends[2 * half :]
        addends = [addends[k] + addends[half + k] for k in range(half)]
    total, *rest = [*addends, *over]
    for one in rest:
        total = total + one
    return total


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("length", [9, 12, 13, 32, 63])
def test_a_long_axis_is_halved_until_it_is_short(length: int, keepdims: int) -> None:
    made = "[n,5,1,7]" if keepdims else "[n,5,7]"
    graph = with_ordered_sums(sum_graph(f"[n,5,{length},7]", [2], made, keepdims))
    onnx.checker.check_model(graph, full_check=True)
    assert len(graph.graph.node) < 40
    maps = np.random.default_rng(0).normal(0, 1, (3, 5, length, 7)).astype(np.float32)
    expected = in_halves([maps[:, :, k] for k in range(length)])
    np.testing.assert_array_equal(answer(graph, maps), expected[:, :, None] if keepdims else expected)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean"])
@pytest.mark.parametrize("axes", [[1, 2], [-2, -3], [2], [1]])
def test_sums_and_means_over_several_axes_are_sums_over_one_after_the_other(
    axes: list[int], operator: str, keepdims: int
) -> None:
    maps = np.random.default_rng(0).normal(0, 1, (3, 12, 17, 7)).astype(np.float32)
    reduce = np.sum if operator == "ReduceSum" else np.mean
    expected = reduce(maps.astype(np.float64), axis=tuple(axes), keepdims=bool(keepdims))
    made = str(["n", *expected.shape[1:]]).replace("'", "")
    graph = with_ordered_sums(sum_graph("[n,12,17,7]", axes, made, keepdims, operator))
    onnx.checker.check_model(graph, full_check=True)
    names = [node.name for node in graph.graph.node]
    assert len(set(names)) == len(names) > 5
    assert {node.op_type for node in graph.graph.node} <= {"Slice", "Gather", "Add", "Div"}
    np.testing.assert_allclose(answer(graph, maps), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean"])
@pytest.mark.parametrize(
    ("shape", "axes", "made"),
    [
        ((7, 31, 61), [1], "[n,31,61]"),
        ((48, 64, 64), [1], "[n,64,64]"),
        ((7, 31, 61), [2], "[n,7,61]"),
        ((13, 17, 33), [1, 2], "[n,33]"),
        ((12, 17, 19, 33), [2, 3], "[n,12,33]"),
    ],
)
def test_threads_and_batch_do_not_change_a_byte(
    shape: tuple[int, ...], axes: list[int], made: str, operator: str
) -> None:
    """Those of ONNX Runtime's own ReduceSum and ReduceMean of each of these do (1.32, AVX-512)."""
    graph = with_ordered_sums(sum_graph(f"[n,{','.join(map(str, shape))}]", axes, made, 0, operator))
    maps = np.random.default_rng(0).normal(0, 1, (3, *shape)).astype(np.float32)
    expected = np.concatenate([answer(graph, one[None]) for one in maps])
    for threads in (1, 5, 7, 16):
        for batch in (1, 3):
            found = [answer(graph, maps[i : i + batch], threads) for i in range(0, 3, batch)]
            assert np.concatenate(found).tobytes() == expected.tobytes(), (threads, batch)


@pytest.mark.parametrize(
    ("shape", "axes", "made"),
    [
        ("[n,4,5,7]", [3], "[n,4,5]"),
        ("[n,4,5,7]", [2, 3], "[n,4]"),
        ("[n,4,5,7]", [0], "[4,5,7]"),
        ("[n,4,5,7]", [0, 1], "[5,7]"),
        ("[n,1,5,7]", [1], "[n,5,7]"),
    ],
    ids=["the last axis", "a global sum", "the batch", "the batch and another", "one addend"],
)
def test_other_sums_stay_and_their_bytes_do_not_depend_on_threads_either(
    shape: str, axes: list[int], made: str
) -> None:
    graph = sum_graph(shape, axes, made, 0)
    assert with_ordered_sums(graph) == graph
    maps = (
        np.random.default_rng(0).normal(0, 1, (3, *(int(side) for side in shape[3:-1].split(",")))).astype(np.float32)
    )
    if 0 not in axes:
        expected = np.concatenate([answer(graph, one[None]) for one in maps]).tobytes()
        assert {answer(graph, maps, threads).tobytes() for threads in (1, 7, 16)} == {expected}


def test_an_artifact_for_a_cpu_has_no_short_sum_left_and_one_for_tensorrt_is_as_it_was(
    graph: ExportedGraph, report: ExportReport, checkpoint_path: Path, tmp_path: Path
) -> None:
    assert report.manifest.target == "any"
    written = onnx.load(report.artifact)
    assert sum("ReduceSum_" in node.name for node in written.graph.node) > 4
    assert not [node for node in written.graph.node if node.op_type == "ReduceSum"]
    config = ExportConfig(
        checkpoint_path, tmp_path / "out.onnx", precision="fp16", budget=BudgetConfig(iou_points=100.0)
    )
    half = export_checkpoint(config, to_graph=lambda *_: graph)
    assert half.manifest.target == "tensorrt"
    assert [node for node in onnx.load(half.artifact).graph.node if node.op_type == "ReduceSum"]


@pytest.mark.parametrize("engine", ["cpu", "openvino"])
def test_an_artifact_gives_the_same_bytes_on_any_number_of_threads(
    engine: str, report: ExportReport, random_tiles: Callable[..., NDArray[np.float32]]
) -> None:
    if engine == "openvino" and not openvino_version():
        pytest.skip("OpenVINO has no wheel for this platform")
    tiles, found = random_tiles(3), set[bytes]()
    for threads in (1, 2, 7, 16) if engine == "cpu" else (1, 7):
        with open_engine(report.artifact, engine=engine, threads=threads) as opened:
            found.add(opened(tiles).tobytes())
            found.add(np.concatenate([opened(tile[None]) for tile in tiles]).tobytes())
    assert len(found) == 1
