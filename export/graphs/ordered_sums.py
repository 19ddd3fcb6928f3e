"""Sums of maps as additions one by one: the same bytes on any number of threads and in any batch.

ONNX Runtime sums over other axes than the last in vectors where a thread's share is whole vectors and number by number
at the share's end, and the two round in another order; what a pixel gets then depends on how many threads there are
and, as a batch is shared out otherwise than one tile, on the batch. An addition of two tensors has one order only.
Sums that the last axis is part of, global averages of maps among them, are one thread's from end to end.

A long axis, such as the channels that DCF's head weighs, is halved by additions of halves until it is short.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .graph_view import GraphView

MOST: Final = 8  # addends that are taken one by one; a longer axis is halved first
SUMS: Final = frozenset(("ReduceSum", "ReduceMean"))


def with_ordered_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` in which each sum or mean that keeps the last axis is written as additions, in order."""
    view = GraphView.of(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    constants: dict[str, onnx.TensorProto] = {}
    for node in view.nodes:
        lengths = _summed(view, node) if node.op_type in SUMS and view.is_float(node.output[0]) else {}
        copy.graph.node.extend(_written(node, lengths, constants) if lengths else [node])
    copy.graph.initializer.extend(constants.values())
    used = {name for node in copy.graph.node for name in node.input}
    kept = [tensor for tensor in copy.graph.initializer if tensor.name in used]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    return copy


def _summed(view: GraphView, node: onnx.NodeProto) -> dict[int, int]:
    """Return the axes that are summed over, the last one first, each with its length; none: it is left as it is."""
    axes = view.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    dims = view.shapes.get(node.input[0])
    if axes is None or dims is None:
        return {}
    found = {axis: dims[axis] for axis in sorted({int(axis) % len(dims) for axis in axes.reshape(-1)}, reverse=True)}
    lengths = {axis: length for axis, length in found.items() if isinstance(length, int)}
    is_whole = len(lengths) == len(found) and math.prod(lengths.values()) > 1
    return lengths if is_whole and len(dims) - 1 not in lengths else {}


def _written(
    node: onnx.NodeProto, lengths: dict[int, int], constants: dict[str, onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    """Yield what stands in the place of a sum or mean, named after it."""
    keeps = next((bool(entry.i) for entry in node.attribute if entry.name == "keepdims"), True)
    is_mean = node.op_type == "ReduceMean"
    source, (answer,) = node.input[0], node.output
    last = min(lengths)
    for axis, length in lengths.items():
        name, made = (node.name, answer) if axis == last else (f"{node.name}_over{axis}", f"{answer}_over{axis}")
        total = f"{answer}_total" if axis == last and is_mean else made
        yield from _Additions(name, made, axis, keeps, constants).nodes(source, length, total)
        source = total
    if is_mean:
        count = math.prod(lengths.values())
        constants[f"ordered_sum_of_{count}"] = numpy_helper.from_array(np.float32(count), f"ordered_sum_of_{count}")
        yield helper.make_node("Div", [source, f"ordered_sum_of_{count}"], [answer], name=f"{node.name}_mean")


@dataclass(frozen=True)
class _Additions:
    """A sum over one axis.

    Attributes:
        name: that the names of nodes begin with.
        made: that the names of tensors begin with.
        axis: that is summed over.
        keeps: whether it stays as one of length 1.
        constants: positions by name; those that are needed are added.
    """

    name: str
    made: str
    axis: int
    keeps: bool
    constants: dict[str, onnx.TensorProto] = field(repr=False)

    def nodes(self, whole: str, length: int, total: str) -> Iterator[onnx.NodeProto]:
        """Yield what sums the `length` addends of the tensor `whole` to the tensor `total`."""
        over = []  # where a length is odd, the last addend waits until the end
        while length > MOST:
            half = length // 2
            yield self._slice(whole, f"low{half}", 0, half)
            yield self._slice(whole, f"high{half}", half, 2 * half)
            if length % 2:
                over.append(f"{self.made}_over_{half}")
                yield self._slice(whole, f"over_{half}", 2 * half, length)
            whole, length = f"{self.made}_halved{half}", half
            yield self._node("Add", [f"{self.made}_low{half}", f"{self.made}_high{half}"], whole, f"halved{half}")
        addends = [(whole, position) for position in range(length)] + [(one, 0) for one in over]
        for number, (source, position) in enumerate(addends):
            index = np.array([position] if self.keeps else position, np.int64)
            constant = self._constant(f"{'kept_' if self.keeps else ''}{position}", index)
            part = f"part{number}"
            # A tensor of one addend is the total: an axis of length 1, where there are several axes.
            made = total if len(addends) == 1 else f"{self.made}_{part}"
            yield self._node("Gather", [source, constant], made, part, axis=self.axis)
        summed = f"{self.made}_part0"
        for number in range(1, len(addends)):
            made = total if number == len(addends) - 1 else f"{self.made}_sum{number}"
            yield self._node("Add", [summed, f"{self.made}_part{number}"], made, f"sum{number}")
            summed = made

    def _slice(self, source: str, part: str, start: int, end: int) -> onnx.NodeProto:
        bounds = [self._constant(f"kept_{place}", np.array([place], np.int64)) for place in (start, end, self.axis)]
        return self._node("Slice", [source, *bounds], f"{self.made}_{part}", part)

    def _constant(self, name: str, value: NDArray[np.int64]) -> str:
        name = f"ordered_sum_{name}"
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def _node(self, operator: str, taken: list[str], made: str, part: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, taken, [made], name=f"{self.name}_{part}", **attributes)
