"""A portable graph that would do harm is refused before it is written."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from nano_graph import nano_graph
from onnx import helper, numpy_helper

from kda_edge.errors import ParityError
from kda_edge.export.portable import portable_graph
from kda_edge.export.portable_check import require_same_answers
from kda_edge.manifest import InputContract, Manifest
from kda_edge.tiling.certificate_tiles import Tile, generated_tiles

MANIFEST = Manifest("nano", 1, "0" * 64, 256, "0.1.0", threshold=0.625)


@pytest.fixture(scope="module")
def own() -> onnx.ModelProto:
    return nano_graph()


@pytest.fixture(scope="module")
def tiles() -> list[Tile]:
    return generated_tiles(InputContract(), 256)


def _constant(model: onnx.ModelProto, name: str, change: Callable[[float], float]) -> None:
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((value * 0 + change(float(value))).astype(value.dtype), name))


def _rewired(model: onnx.ModelProto, old: str, new: str, taker: str) -> None:
    node = next(node for node in model.graph.node if node.name == taker)
    node.input[list(node.input).index(old)] = new


def unfilled(model: onnx.ModelProto) -> None:
    _rewired(model, "fill.filled", "image", "portable/image.spread")


def filled_with_the_first_pixel(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.output[0] == "fill.along")
    node.CopyFrom(helper.make_node("Mul", ["fill.inside", "fill.number_zero"], ["fill.along"], name="fill.along"))


def at_another_threshold(model: onnx.ModelProto) -> None:
    _constant(model, "classes.at_threshold", lambda value: value + 0.01)


def with_landslides_where_nothing_is_known(model: onnx.ModelProto) -> None:
    _constant(model, "classes.bar", lambda value: -value)


def of_another_range(model: onnx.ModelProto) -> None:
    _constant(model, "image.span", lambda value: value * 1.01)


def test_a_portable_graph_that_says_what_the_runtime_says_passes(own: onnx.ModelProto, tiles: list[Tile]) -> None:
    require_same_answers(portable_graph(own, MANIFEST), own, MANIFEST, tiles)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (unfilled, "beside missing pixels"),
        (filled_with_the_first_pixel, "differs by"),
        (at_another_threshold, "differs by"),
        (with_landslides_where_nothing_is_known, "partly missing"),
        (of_another_range, "differs by"),
    ],
)
def test_one_that_would_do_harm_is_refused(
    own: onnx.ModelProto, tiles: list[Tile], harm: Callable[[onnx.ModelProto], None], words: str
) -> None:
    model = portable_graph(own, MANIFEST)
    harm(model)
    with pytest.raises(ParityError, match=words) as caught:
        require_same_answers(model, own, MANIFEST, tiles)
    assert "\n" not in str(caught.value)
