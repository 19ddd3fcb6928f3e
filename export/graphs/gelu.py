"""The exporter's GELU in an order that engines know: (0.5 x) (1 + erf(x / sqrt 2)) instead of x (0.5 (1 + erf ...)).

ONNX Runtime fuses the first into one kernel and the second not at all (its `GeluFusion`); OpenVINO fuses both. Half of
a float is exact, so both orders round once, at the same product, and give the same bits; and unlike (x (1 + erf)) 0.5,
which ONNX Runtime fuses too, no step is larger than the result, so that nothing overflows in FP16.
"""

from __future__ import annotations

import onnx

from .graph_view import GraphView


def with_known_gelu(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with every GELU of the exporter in the order that engines fuse; names stay.

    What only looks like one (another constant, or a tensor in between that somebody else takes) stays as it is.
    """
    view = GraphView.of(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for index, node in enumerate(view.nodes):
        found = _halved_gate(view, index) if node.op_type == "Mul" else None
        if found is None:
            continue
        at_half, at_x = found
        half_node, product = copy.graph.node[at_half], copy.graph.node[index]
        x = node.input[at_x]
        gate = next(name for name in half_node.input if not _is_number(view, name, 0.5))
        half = next(name for name in half_node.input if name != gate)
        del half_node.input[:], product.input[:]
        half_node.input.extend([x, half])
        product.input.extend([half_node.output[0], gate])
    return copy


def _halved_gate(view: GraphView, product: int) -> tuple[int, int] | None:
    """Return the position of the node that halves 1 + erf(x / c), and which input of the product is x; else None."""
    for at_x, at_gate in ((0, 1), (1, 0)):
        x, halved = view.nodes[product].input[at_x], view.nodes[product].input[at_gate]
        half = _only_for(view, halved, "Mul", 0.5)
        plus = half and _only_for(view, half[1], "Add", 1.0)
        erf = plus and _maker(view, plus[1], "Erf")
        scaled = erf and view.producer_of(erf.input[0])
        if half and scaled and scaled.op_type in ("Div", "Mul") and scaled.input[0] == x:
            return half[0], at_x
    return None


def _only_for(view: GraphView, tensor: str, operator: str, number: float) -> tuple[int, str] | None:
    """Return who makes a tensor that one node alone takes, by `operator` with a number, and the other operand."""
    node = _maker(view, tensor, operator)
    if node is None or len(view.consumers.get(tensor, ())) != 1 or tensor in view.output_names:
        return None
    others = [name for name in node.input if not _is_number(view, name, number)]
    return (view.producers[tensor], others[0]) if len(others) == 1 else None


def _maker(view: GraphView, tensor: str, operator: str) -> onnx.NodeProto | None:
    node = view.producer_of(tensor)
    return node if node is not None and node.op_type == operator else None


def _is_number(view: GraphView, tensor: str, number: float) -> bool:
    value = view.constant(tensor)
    return value is not None and value.size == 1 and float(value.reshape(())) == number
