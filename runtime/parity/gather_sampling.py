"""Bilinear sampling written with gathers, for a TensorRT that goes wrong with GridSample.

TensorRT's fusions round GridSample have given wrong activations before (lightly-train, another exporter, replaced the
operator for that reason). Where an engine does not hold its parity, the same graph without the operator may: floor,
four gathers from the flattened maps, and a weighted sum, in the order of steps of PyTorch's `grid_sample`. It costs
four reads an output value where GridSample has its own kernel; how much time that is on a device was not measured.

Everything is float32 but the indices, which are int32 (all that TensorRT gathers by; ONNX would take int64 too).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto

from kda_edge.errors import ExportError

SETTINGS: Final = {"mode": b"bilinear", "padding_mode": b"border", "align_corners": 0}
ONNX_DEFAULTS: Final = {"mode": b"bilinear", "padding_mode": b"zeros", "align_corners": 0}


def gathered(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` in which every GridSample is written out; the batch stays a symbol.

    The last pass on a graph: those that change precision know the sampling positions by the GridSample they go into.
    Positions may be infinite (the border is taken); what is no number has no sampled value, as in GridSample.

    Args:
        model: opset 19; GridSample bilinear with border padding, `align_corners` 0, on float32 maps (N, C, H, W) and
            positions (N, H', W', 2) whose sides but N are numbers.

    Raises:
        ExportError: a GridSample of another kind.
    """
    shapes = _shapes(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    for node in model.graph.node:
        if node.op_type == "GridSample":
            _require_kind(node, shapes)
            written = _Written(node, shapes)
            copy.graph.node.extend(written.nodes())
            copy.graph.initializer.extend(written.constants)
        else:
            copy.graph.node.append(node)
    return copy


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the sides of each float32 tensor whose rank can be inferred, 0 where one is no number."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}
    found = {name: tuple(side.dim_value for side in kind.shape.dim) for name, kind in typed.items() if _is_float(kind)}
    return found | {
        known.name: tuple(known.dims) for known in graph.initializer if known.data_type == TensorProto.FLOAT
    }


def _is_float(kind: onnx.TypeProto.Tensor) -> bool:
    return bool(kind.elem_type == TensorProto.FLOAT and kind.HasField("shape"))


def _require_kind(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    written = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    settings = {key: value for key, value in (ONNX_DEFAULTS | written).items() if key in SETTINGS}
    if settings != SETTINGS:
        raise ExportError(f"{node.name} is not bilinear between borders; export it again with kda-export")
    for name in node.input:
        sides = shapes.get(name, ())
        if len(sides) != 4 or not all(sides[1:]):
            raise ExportError(f"{node.name} takes {name}, which is no float32 map of a known size; export it again")


class _Written:
    """The nodes and constants in the place of one GridSample."""

    def __init__(self, node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.node = node
        _, self.channels, self.height_px, self.width_px = shapes[node.input[0]]
        _, self.out_height_px, self.out_width_px, _ = shapes[node.input[1]]
        self.constants: list[onnx.TensorProto] = []

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Yield them in order; the last one's output has the name of the GridSample's."""
        # From -1..1 to pixels, x then y, border padding: beyond it, the position is on it.
        sides = np.array([self.width_px, self.height_px], np.float32)
        yield self._make("Add", "from_zero", [self.node.input[1], self._constant("one", np.float32(1))])
        yield self._make("Mul", "doubled", [self._name("from_zero"), self._constant("sides", sides)])
        yield self._make("Sub", "centred", [self._name("doubled"), self._name("one")])
        yield self._make("Mul", "in_pixels", [self._name("centred"), self._constant("half", np.float32(0.5))])
        yield self._make("Max", "from_first", [self._name("in_pixels"), self._constant("first", np.float32(0))])
        yield self._make("Min", "inside", [self._name("from_first"), self._constant("last", sides - 1)])
        yield self._make("Floor", "corner", [self._name("inside")])
        yield self._make("Sub", "share", [self._name("inside"), self._name("corner")])
        yield self._make("Sub", "rest", [self._name("one"), self._name("share")])
        # The right and lower neighbours; on the border the pixel itself, whose share is 0 there.
        yield self._make("Cast", "near", [self._name("corner")], to=TensorProto.INT32)
        yield self._make("Add", "next", [self._name("near"), self._constant("step", np.int32(1))])
        last = self._constant("last_pixel", (sides - 1).astype(np.int32))
        yield self._make("Min", "far", [self._name("next"), last])
        self._constant("columns", np.int64(0))
        self._constant("rows", np.int64(1))
        for what in ("share", "rest", "near", "far"):
            for axis in ("columns", "rows"):
                yield self._make("Gather", f"{what}_{axis}", [self._name(what), self._name(axis)], axis=3)
        for what in ("near", "far"):
            width = self._constant("width", np.int32(self.width_px))
            yield self._make("Mul", f"{what}_start", [self._name(f"{what}_rows"), width])
        # (N, C, H, W) -> (N, C, H * W); positions (N, H', W') -> (N, 1, H' * W'), indices repeated for every channel.
        self._constant("flat", np.array([-1, self.channels, self.height_px * self.width_px]))
        self._constant("line", np.array([-1, 1, self.out_height_px * self.out_width_px]))
        self._constant("every_channel", np.zeros((1, self.channels, 1), np.int32))
        yield self._make("Reshape", "map", [self.node.input[0], self._name("flat")])
        for row in ("near", "far"):
            for column in ("near", "far"):
                yield from self._corner(row, column)
        yield self._make("Add", "upper", [self._name("near_near"), self._name("near_far")])
        yield self._make("Add", "three", [self._name("upper"), self._name("far_near")])
        yield self._make("Add", "sum", [self._name("three"), self._name("far_far")])
        shape = np.array([-1, self.channels, self.out_height_px, self.out_width_px])
        inputs = [self._name("sum"), self._constant("shape", shape)]
        yield onnx.helper.make_node("Reshape", inputs, list(self.node.output), name=f"{self.node.name}.sampled")

    def _corner(self, row: str, column: str) -> Iterator[onnx.NodeProto]:
        """Yield what reads one of the four pixels, and weighs it by the area on the other side of the position."""
        corner = f"{row}_{column}"
        weights = [self._name({"near": "rest", "far": "share"}[end]) for end in (column, row)]
        yield self._make("Add", f"{corner}_at", [self._name(f"{row}_start"), self._name(f"{column}_columns")])
        yield self._make("Reshape", f"{corner}_line", [self._name(f"{corner}_at"), self._name("line")])
        yield self._make("Add", f"{corner}_index", [self._name(f"{corner}_line"), self._name("every_channel")])
        yield self._make("GatherElements", f"{corner}_read", [self._name("map"), self._name(f"{corner}_index")], axis=2)
        yield self._make("Mul", f"{corner}_area", [f"{weights[0]}_columns", f"{weights[1]}_rows"])
        yield self._make("Reshape", f"{corner}_weight", [self._name(f"{corner}_area"), self._name("line")])
        yield self._make("Mul", corner, [self._name(f"{corner}_read"), self._name(f"{corner}_weight")])

    def _make(self, operator: str, step: str, inputs: list[str], **settings: Any) -> onnx.NodeProto:
        name = f"{self.node.name}.{step}"
        return onnx.helper.make_node(operator, inputs, [self._name(step)], name=name, **settings)

    def _name(self, step: str) -> str:
        return f"{self.node.output[0]}.{step}"

    def _constant(self, step: str, value: ArrayLike) -> str:
        name = self._name(step)
        if all(tensor.name != name for tensor in self.constants):
            self.constants.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name
