"""Half rounding written down: what a graph answers when every half tensor really is rounded.

ONNX Runtime's CPU provider has float kernels alone for most operators. It computes a half node in float32 between
casts of its own and takes those casts out again where two half nodes meet, at every level of optimisation, and with
all of them also the graph's own casts: 1 + 2^-12 passes through a half tensor unharmed, and 4 * 60000 is not infinite
(seen with ONNX Runtime 1.32 on x86; none of the session options and disabled optimisers that were tried changed it).
Such an answer says little of what half precision costs.

`rounded_graph` writes the rounding down. Everything is float32, and constants keep the values that half gave them.
Each tensor that was half goes through a pair of casts, to half and back; ONNX Runtime leaves such a pair alone. This
shows the loss of storing each node's result in half, overflow and underflow included. It does not show two things:
sums inside of a kernel are float32 here and may be half in an engine; and engines fuse nodes, so that results between
them are not rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx

from kda_edge.tiling.tile_answers import Engine

from ..graphs.graph_view import FLOAT, FLOAT16, GraphView
from ..precision.half_rules import MOVEMENT
from .compared_engines import engine_from_graph

# These pass on values that they were given: what was rounded stays rounded.
EXACT: Final = MOVEMENT | {"Abs", "Max", "MaxPool", "Min", "Neg", "Relu"}
# These make half by an attribute; they are left as they are, and what they make is cast up.
MAKERS: Final = frozenset(("Cast", "Constant", "ConstantOfShape"))


def rounded_engine(graph: onnx.ModelProto) -> Engine:
    """Open a graph, half or not, so that each half tensor is rounded.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    return engine_from_graph(rounded_graph(graph))


def rounded_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 graph that rounds to half where `model` has half tensors; for evaluation, not for shipping.

    Args:
        model: what it takes and gives is float32; left as it is.

    Raises:
        ExportError: the types of the graph can't be inferred.
    """
    view = GraphView.of(model)
    evaluated = onnx.ModelProto()
    evaluated.CopyFrom(model)
    for part in ("node", "initializer", "value_info"):
        evaluated.graph.ClearField(part)
    evaluated.graph.node.extend(rounding for node in view.nodes for rounding in _rounding(view, node))
    for tensor in model.graph.initializer:
        if tensor.data_type == FLOAT16:
            value = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            evaluated.graph.initializer.append(onnx.numpy_helper.from_array(value, tensor.name))
        else:
            evaluated.graph.initializer.append(tensor)
    return evaluated


def _rounding(view: GraphView, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield `node` for float32, and the casts behind it."""
    halves = [position for position, name in enumerate(node.output) if view.type_of(name) == FLOAT16]
    if node.op_type in EXACT or not halves:
        yield node
        return
    written = onnx.NodeProto()
    written.CopyFrom(node)
    is_half = node.op_type in MAKERS
    for position in halves:
        written.output[position] += ".in_half" if is_half else ".unrounded"
    yield written
    for position in halves:
        name = node.output[position]
        if not is_half:
            yield _cast(f"{name}.unrounded", f"{name}.in_half", FLOAT16, node)
        yield _cast(f"{name}.in_half", name, FLOAT, node)


def _cast(source: str, target: str, kind: int, node: onnx.NodeProto) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], name=f"{node.name}.makes_{target}", to=kind)
