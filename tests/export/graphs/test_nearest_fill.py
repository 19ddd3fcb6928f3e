"""Filling within a graph, against a search through all known pixels and against the runtime's own fill."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from kda_edge.export.graphs.nearest_fill import NearestFill
from kda_edge.export.lint import rules as lint
from kda_edge.tiling.fill_nodata import fill_nodata


def model_of(side_px: int) -> onnx.ModelProto:
    fill = NearestFill("image", side_px, "fill")
    image, filled = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, side_px, side_px])
        for name in ("image", fill.filled)
    )
    known = helper.make_tensor_value_info(fill.known, TensorProto.FLOAT, [1, 1, side_px, side_px])
    graph = helper.make_graph(fill.nodes, "fill", [image], [filled, known], fill.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def run(image: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fill (T, T, 3) and return it, and where it is known."""
    session = onnxruntime.InferenceSession(model_of(len(image)).SerializeToString(), providers=["CPUExecutionProvider"])
    filled, known = session.run(None, {"image": image.transpose(2, 0, 1)[None].astype(np.float32)})
    return filled[0].transpose(1, 2, 0), known[0, 0]


def places(side_px: int) -> NDArray[np.float32]:
    """An image whose pixels are their own numbers, so that it shows where each was taken from; 0 in no pixel."""
    row, col = np.indices((side_px, side_px), np.float32)
    return np.stack([row + 1, col + 1, np.ones_like(row)], axis=2)


def moves(down: NDArray[Any], across: NDArray[Any]) -> NDArray[Any]:
    """OpenCV's distance: knight's moves as far as they lead, then diagonal or straight ones."""
    longer, shorter = np.maximum(np.abs(down), np.abs(across)), np.minimum(np.abs(down), np.abs(across))
    knights = np.minimum(shorter, longer - shorter)
    return knights * 2.1969 + (shorter - knights) * 1.4 + (longer - shorter - knights) * 1.0


def missing_in(side_px: int, kind: str) -> NDArray[np.bool_]:
    row, col = np.indices((side_px, side_px))
    rng = np.random.default_rng(0)
    return {
        "border": row + 0.7 * col < side_px * 0.6,
        "hole": np.hypot(row - side_px * 0.4, col - side_px * 0.55) < side_px * 0.3,
        "all but one": (row != side_px // 3) | (col != side_px - 1),
        "most": rng.random((side_px, side_px)) < 0.97,
        "some": rng.random((side_px, side_px)) < 0.2,
    }[kind]


@pytest.mark.parametrize("side_px", [32, 56, 64])
@pytest.mark.parametrize("kind", ["border", "hole", "all but one", "most", "some"])
def test_a_missing_pixel_gets_the_nearest_known_one_or_one_hardly_farther_and_known_ones_stay(
    side_px: int, kind: str
) -> None:
    missing = missing_in(side_px, kind)
    image = np.where(missing[..., None], np.float32(0), places(side_px))
    filled, known = run(image)
    np.testing.assert_array_equal(known, ~missing)
    np.testing.assert_array_equal(filled[~missing], image[~missing])
    came_from = filled[..., :2].astype(int) - 1
    assert (~missing[came_from[..., 0], came_from[..., 1]]).all()
    rows, cols = np.nonzero(missing)
    givers = np.argwhere(~missing)
    nearest = np.array([moves(*(givers - at).T).min() for at in zip(rows, cols, strict=True)])
    found = moves(*(came_from[missing] - np.stack([rows, cols], axis=1)).T)
    assert (found >= nearest - 1e-3).all()
    assert np.mean(found > nearest + 1e-3) < 0.05
    assert (found <= nearest + 2).all()


@pytest.mark.parametrize("kind", ["border", "hole"])
def test_nearly_every_pixel_is_filled_as_the_runtime_fills_it(kind: str) -> None:
    missing = missing_in(128, kind)
    image = np.where(missing[..., None], np.float32(0), places(128))
    filled, _ = run(image)
    same = (filled == fill_nodata(image, ~missing)).all(axis=2)
    assert same.mean() > 0.97


def test_a_tile_without_a_known_pixel_stays_as_it_is() -> None:
    filled, known = run(np.zeros((32, 32, 3), np.float32))
    assert not filled.any()
    assert not known.any()


def test_a_pixel_is_missing_only_where_all_three_channels_are_0() -> None:
    image = np.zeros((32, 32, 3), np.float32)
    image[3, 4, 0], image[9, 9, 1], image[20, 30, 2] = 1 / 255, 1e-6, 1.0
    _, known = run(image)
    assert np.argwhere(known == 1).tolist() == [[3, 4], [9, 9], [20, 30]]
    assert set(np.unique(known)) == {0, 1}


def test_no_operator_is_used_that_exported_graphs_do_not_have() -> None:
    made = model_of(64)
    onnx.checker.check_model(made, full_check=True)
    assert all("where it must have" in line for line in lint.findings(made))
