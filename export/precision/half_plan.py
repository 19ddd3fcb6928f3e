"""The plan of half precision: which nodes of a graph compute in it, and why each of the others does not.

**By rule** (`half_rules.py`), always, these stay float32:

- what normalises the raw pixels: they reach 65535, and the largest half is 65504;
- exponentials, norms and reductions: sums over many values leave half's range and lose what is small;
- attention scores, from the scaling of queries and keys to the softmax;
- sampling positions, from the convolution that yields the offsets to GridSample, which takes its map in float32 too;
- what the logit is summed from, the last convolution included, and the sigmoid;
- Resize, whose factors are float32 anyway, and Hamburger's factorisation of a map;
- a node with a constant that half can't hold: finite and then infinite, or all of it zero.

**Islands** are modules that a search (`sensitivity.py`) found to need float32 besides.

What moves values and computes nothing (Reshape, Concat, ...) is in the type that it is given, and so is
QuantizeLinear; DequantizeLinear gives half where anything behind it computes in half and half can hold its scale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx

from kda_edge.errors import ExportError

from ..graphs.graph_view import FLOAT16, GraphView, is_within
from .half_rules import DEQUANTISE, MOVEMENT, QUANTISE, RULES, has_floats, unfit


@dataclass(frozen=True)
class HalfPlan:
    """The precision of every node that has to do with floating point.

    Attributes:
        view: the graph.
        in_half: positions of the nodes in half; nodes that only move values are among them.
        reasons: position -> why this node that could have been in half computes in float32.
    """

    view: GraphView
    in_half: frozenset[int]
    reasons: Mapping[int, str]

    @property
    def half_nodes(self) -> tuple[str, ...]:
        """Names of the nodes that compute in half; what only moves values or changes their type is not in it."""
        names = (self.view.nodes[index] for index in sorted(self.in_half))
        return tuple(node.name for node in names if node.op_type not in MOVEMENT | {QUANTISE, DEQUANTISE})

    @property
    def float_nodes(self) -> Mapping[str, str]:
        """Name -> why, of the nodes that compute in float32."""
        return {self.view.nodes[index].name: reason for index, reason in sorted(self.reasons.items())}

    def counts(self) -> Mapping[str, int]:
        """Return how many nodes compute in half (`half`), and how many in float32 by reason."""
        return {"half": len(self.half_nodes), **dict(sorted(Counter(self.reasons.values()).items()))}


def half_plan(model: onnx.ModelProto, *, islands: Collection[str] = ()) -> HalfPlan:
    """Decide for every node of a float32 graph, with or without Q/DQ, whether it computes in half.

    Args:
        model: opset 19 or so, a straight graph.
        islands: groups as `graph_view.is_within` reads them, to stay float32 besides what the rules say.

    Raises:
        ExportError: the graph has float16 already, or no node is of an island.
    """
    view = GraphView.of(model)
    if FLOAT16 in view.types.values():
        raise ExportError("the graph is in half precision already; give the one in float32")
    missing = [island for island in islands if not any(is_within(node, island) for node in view.nodes)]
    if missing:
        raise ExportError(f"no node of the graph is of the module {missing[0]!r}; name a module of this graph")
    reasons = _reasons(view, sorted(islands))
    in_half: set[int] = set()
    for index, node in enumerate(view.nodes):
        if not has_floats(view, node) or index in reasons:
            continue
        if node.op_type == DEQUANTISE:
            chosen = _is_wanted_in_half(view, index, reasons)
        elif node.op_type in MOVEMENT or node.op_type == QUANTISE:
            chosen = _is_given_half(view, node, in_half)
        else:
            chosen = True
        if chosen:
            in_half.add(index)
    return HalfPlan(view, frozenset(in_half), reasons)


def _reasons(view: GraphView, islands: Iterable[str]) -> dict[int, str]:
    """Return why nodes compute in float32: the first reason that holds; what only moves values has none."""
    reasons: dict[int, str] = {}
    for reason, rule in RULES:
        for index in rule(view):
            reasons.setdefault(index, reason)
    for index, node in enumerate(view.nodes):
        for island in islands:
            if is_within(node, island):
                reasons.setdefault(index, f"island {island}")
    passive = MOVEMENT | {DEQUANTISE, QUANTISE}
    kept = {
        index: reason
        for index, reason in reasons.items()
        if view.nodes[index].op_type not in passive and has_floats(view, view.nodes[index])
    }
    for index in unfit(view):
        kept.setdefault(index, "a constant that half can't hold")
    return kept


def _is_given_half(view: GraphView, node: onnx.NodeProto, in_half: Collection[int]) -> bool:
    """Whether the first float that `node` is given is half; constants are what they are needed as."""
    for name in node.input:
        if view.is_float(name) and not view.is_constant(name):
            return view.producers.get(name) in in_half
    return node.op_type != QUANTISE  # a weight that is quantised in the graph: as it was measured


def _is_wanted_in_half(view: GraphView, index: int, reasons: Mapping[int, str]) -> bool:
    """Whether anything that takes the floats of node `index`, behind what moves them, computes in half."""

    def moves(near: int) -> bool:
        return view.nodes[near].op_type in MOVEMENT and near not in reasons

    behind = view.reached([index], view.after, moves) - {index}
    return any(not moves(near) and near not in reasons for near in behind)
