"""Sampling by gathers is `grid_sample`: everywhere on a map, far beyond it, and in the graph of a student."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from nano_graph import nano_graph
from numpy.typing import NDArray
from onnx import TensorProto, helper

from kda_edge.errors import ExportError
from kda_edge.export.lint import rules as lint
from kda_edge.export.precision.fp16 import half_graph
from kda_edge.manifest import InputContract
from kda_edge.runtime.parity.gather_sampling import gathered
from kda_edge.tiling.certificate_tiles import generated_tiles

SETTINGS: dict[str, Any] = {"mode": "bilinear", "padding_mode": "border", "align_corners": 0}
FLOAT = TensorProto.FLOAT


def sampling(
    map_chw: tuple[int, ...], grid_hw: tuple[int, ...], kind: int = FLOAT, opset: int = 19, **changed: object
) -> onnx.ModelProto:
    """A graph of one GridSample, the batch a symbol."""
    graph = helper.make_graph(
        [helper.make_node("GridSample", ["map", "grid"], ["sampled"], name="up/GridSample_0", **(SETTINGS | changed))],
        "sampling",
        [
            helper.make_tensor_value_info("map", kind, ["batch", *map_chw]),
            helper.make_tensor_value_info("grid", kind, ["batch", *grid_hw, 2]),
        ],
        [helper.make_tensor_value_info("sampled", kind, ["batch", map_chw[0], *grid_hw])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def opened(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, **inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(opened(model).run(None, inputs)[0])


def by_torch(maps: NDArray[np.float32], grid: NDArray[np.float32]) -> NDArray[np.float32]:
    sampled = F.grid_sample(
        torch.from_numpy(maps), torch.from_numpy(grid), mode="bilinear", padding_mode="border", align_corners=False
    )
    return np.asarray(sampled.numpy())


@pytest.mark.parametrize("map_chw", [(1, 1, 1), (1, 7, 5), (3, 8, 8), (8, 13, 32), (2, 1, 9)], ids=str)
@pytest.mark.parametrize("reach", [0.9, 1.3, 50.0], ids=["inside", "across the border", "far beyond"])
def test_random_positions_are_sampled_as_pytorch_does(map_chw: tuple[int, ...], reach: float) -> None:
    random = np.random.default_rng(3)
    maps = random.normal(0.0, 10.0, (3, *map_chw)).astype(np.float32)
    grid = random.uniform(-reach, reach, (3, 11, 6, 2)).astype(np.float32)
    model = gathered(sampling(map_chw, (11, 6)))
    np.testing.assert_allclose(run(model, map=maps, grid=grid), by_torch(maps, grid), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 4), (7, 5)])
def test_centres_and_edges_of_pixels_are_sampled_as_pytorch_does(height: int, width: int) -> None:
    """At centres a position falls on a whole number, at edges half way; the corners of the map are among them."""
    rows, cols = (np.arange(-1, 2 * side + 2) / 2 for side in (height, width))  # in pixels: 0.5 is a centre
    y, x = np.meshgrid(rows * 2 / height - 1, cols * 2 / width - 1, indexing="ij")
    grid = np.stack((x, y), axis=-1)[None].astype(np.float32)
    maps = np.random.default_rng(4).normal(0.0, 10.0, (1, 2, height, width)).astype(np.float32)
    model = gathered(sampling((2, height, width), grid.shape[1:3]))
    answer = run(model, map=maps, grid=grid)
    np.testing.assert_allclose(answer, by_torch(maps, grid), rtol=0, atol=1e-4)
    np.testing.assert_allclose(answer[0, :, 2:-1:2, 2:-1:2], maps[0], atol=1e-4)


def test_infinite_positions_are_on_the_border() -> None:
    maps = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    ends = np.array([-np.inf, -3e38, 3e38, np.inf], np.float32)
    grid = np.stack(np.meshgrid(ends, ends), axis=-1)[None]
    answer = run(gathered(sampling((1, 3, 4), (4, 4))), map=maps, grid=grid)
    corners = [[0, 0, 3, 3], [0, 0, 3, 3], [8, 8, 11, 11], [8, 8, 11, 11]]
    np.testing.assert_array_equal(answer[0, 0], corners)


def test_nano_answers_on_every_generated_tile_as_with_grid_sample() -> None:
    model = nano_graph()
    written = gathered(model)
    assert lint.findings(written) == []
    assert {node.op_type for node in model.graph.node} - {node.op_type for node in written.graph.node} == {"GridSample"}
    assert "GridSample" in {node.op_type for node in model.graph.node}, "the graph that was given stays"
    original, rewritten = opened(model), opened(written)
    tiles = np.stack([tile.pixels for tile in generated_tiles(InputContract(), 256)])
    for batch in (tiles[:3], *np.split(tiles[3:], len(tiles) - 3)):
        expected, answer = (session.run(None, {"image": batch})[0] for session in (original, rewritten))
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


def test_gathers_that_were_written_before_half_precision_are_found_by_the_lint() -> None:
    """The pass to half knows positions by their GridSample; after it, `gathered` keeps every type."""
    model = nano_graph()
    assert any("position in float16" in line for line in lint.findings(half_graph(gathered(model))))
    assert lint.findings(gathered(half_graph(model))) == []


def test_the_written_nodes_belong_to_the_module_of_the_grid_sample() -> None:
    written = gathered(sampling((3, 8, 8), (4, 4)))
    assert {node.name.rpartition("/")[0] for node in written.graph.node} == {"up"}
    assert len({node.name for node in written.graph.node}) == len(written.graph.node)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(sampling((1, 4, 4), (4, 4), mode="nearest"), id="nearest"),
        pytest.param(sampling((1, 4, 4), (4, 4), opset=20, mode="linear"), id="the word of opset 20"),
        pytest.param(sampling((1, 4, 4), (4, 4), padding_mode="zeros"), id="zeros beyond the border"),
        pytest.param(sampling((1, 4, 4), (4, 4), align_corners=1), id="corners aligned"),
        pytest.param(sampling((1, 4, 4), (4, 4), kind=TensorProto.FLOAT16), id="in half precision"),
        pytest.param(sampling((1, 4, "width"), (4, 4)), id="a side that is a symbol"),  # type: ignore[arg-type]
    ],
)
def test_another_kind_of_sampling_is_refused_in_one_line(model: onnx.ModelProto) -> None:
    with pytest.raises(ExportError, match=r"up/GridSample_0") as caught:
        gathered(model)
    assert "\n" not in str(caught.value)
