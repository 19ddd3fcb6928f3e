"""Sums of a few maps as additions one by one: the same bytes on any number of threads and in any batch.

ONNX Runtime sums along an axis in vectors where a thread's share is whole vectors and number by number at the share's
end, and the two round in another order; what a pixel gets then depends on how many threads there are and, as a batch
is shared out otherwise than one tile, on the batch. An addition of two tensors has one order only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .graph_view import GraphView

MOST: Final = 8  # addends; the decoder has four levels, and a long axis is a reduction worth a kernel of its own


def with_ordered_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` in which each ReduceSum over one short axis is written out as additions, in order."""
    view = GraphView.of(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    constants: dict[str, onnx.TensorProto] = {}
    for node in view.nodes:
        found = _short_axis(view, node) if node.op_type == "ReduceSum" else None
        copy.graph.node.extend([node] if found is None else _additions(node, *found, constants))
    copy.graph.initializer.extend(constants.values())
    used = {name for node in copy.graph.node for name in node.input}
    kept = [tensor for tensor in copy.graph.initializer if tensor.name in used]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    return copy


def _short_axis(view: GraphView, node: onnx.NodeProto) -> tuple[int, int, bool] | None:
    """Return the axis that is summed over, its length and whether it stays as one of length 1; None: not short."""
    axes = view.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    dims = view.shapes.get(node.input[0])
    if axes is None or axes.size != 1 or dims is None:
        return None
    axis = int(axes.reshape(())) % len(dims)
    length = dims[axis]
    if not isinstance(length, int) or not 2 <= length <= MOST:
        return None
    keeps = next((entry.i for entry in node.attribute if entry.name == "keepdims"), 1)
    return axis, length, bool(keeps)


def _additions(
    node: onnx.NodeProto, axis: int, length: int, keeps: bool, constants: dict[str, onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    """Yield what stands in the place of a ReduceSum, named after it."""
    parts = []
    for k in range(length):
        index = np.array([k] if keeps else k, np.int64)
        constant = f"ordered_sum_{'kept_' if keeps else ''}{k}"
        constants[constant] = numpy_helper.from_array(index, constant)
        parts.append(f"{node.output[0]}_part{k}")
        yield helper.make_node("Gather", [node.input[0], constant], [parts[-1]], name=f"{node.name}_part{k}", axis=axis)
    total = parts[0]
    for k, part in enumerate(parts[1:], 1):
        made = node.output[0] if k == length - 1 else f"{node.output[0]}_sum{k}"
        yield helper.make_node("Add", [total, part], [made], name=f"{node.name}_sum{k}")
        total = made
