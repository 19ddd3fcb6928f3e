"""Rules of half precision: which nodes must compute in float32 whatever is asked for, by reason.

Each rule is a function that finds nodes. The sources are TensorRT issue 4723 and trials with DySample: half positions
are off by 0.03 to 0.06 px at 128 px of width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from typing import Final

import numpy as np
import onnx
from numpy.typing import ArrayLike

from ..graphs.graph_view import GraphView, module_of

MOVEMENT: Final = frozenset(
    ("Concat", "Compress", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Slice", "Split", "Tile")
) | {"DepthToSpace", "Expand", "Flatten", "Reshape", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze"}
QUANTISE: Final = "QuantizeLinear"
DEQUANTISE: Final = "DequantizeLinear"
WEIGHTED: Final = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
ARITHMETIC: Final = frozenset(("Add", "Sub", "Mul", "Div"))
NORMS: Final = frozenset(f"{kind}Normalization" for kind in ("Batch", "Group", "Instance", "Layer", "Lp"))
EXPONENTS: Final = frozenset(("Exp", "Log", "LogSoftmax", "Pow", "Softmax", "Softplus"))
REDUCTIONS: Final = frozenset(
    ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum")
) | {"CumSum", "GlobalAveragePool", "ReduceSumSquare"}
HALF_NORMAL_MIN: Final = float(np.finfo(np.float16).smallest_normal)  # 6.1e-5: below it, precision goes


def _input_normalisation(view: GraphView) -> Iterator[int]:
    """What computes with the raw pixels and constants alone, up to the first layer."""
    raw = {name for name in view.input_names if view.is_float(name)}
    for index, node in enumerate(view.nodes):
        given = {name for name in node.input if name and not view.is_constant(name)}
        if given and given <= raw and node.op_type in ARITHMETIC | MOVEMENT | {"Clip", "Cast"}:
            raw.update(node.output)
            yield index


def _of(operators: Collection[str]) -> Callable[[GraphView], Iterator[int]]:
    return lambda view: (index for index, node in enumerate(view.nodes) if node.op_type in operators)


def _attention_scores(view: GraphView) -> set[int]:
    """The products that go into a softmax, whatever scales or masks them after or before."""

    def is_scaling(index: int) -> bool:
        return view.nodes[index].op_type in ARITHMETIC | MOVEMENT

    before_softmax = [near for index in _of({"Softmax", "LogSoftmax"})(view) for near in view.before(index)]
    reached = view.reached([i for i in before_softmax if is_scaling(i)], view.before, is_scaling) | set(before_softmax)
    products = {index for index in reached if view.nodes[index].op_type == "MatMul"}
    operands = [near for index in products for near in view.before(index)]

    def scales_an_operand(index: int) -> bool:
        node = view.nodes[index]
        sizes = [constant.size for name in node.input if (constant := view.constant(name)) is not None]
        return node.op_type in MOVEMENT or (node.op_type in ("Mul", "Div") and sizes == [1])

    scaling = view.reached([i for i in operands if scales_an_operand(i)], view.before, scales_an_operand)
    between = {index for index in reached if is_scaling(index)}
    return products | between | {index for index in scaling if scales_an_operand(index)}


def _sampling_positions(view: GraphView) -> set[int]:
    """GridSample, and all that its positions come from, back to the layer that yields the offsets."""
    samplers = list(_of({"GridSample"})(view))
    makers = [view.producers[name] for i in samplers for name in view.nodes[i].input[1:2] if name in view.producers]
    towards = [index for index in makers if not _is_layer(view, index)]
    found = view.reached(towards, view.before, lambda index: not _is_layer(view, index))
    return found | set(makers) | set(samplers)


def _logits(view: GraphView) -> set[int]:
    """What makes the answer, back to the last layer, which may be a product with weights and a sum."""
    between = ARITHMETIC | MOVEMENT | REDUCTIONS | {"Sigmoid", "Resize", "GridSample"}

    def sums_up(index: int) -> bool:
        return view.nodes[index].op_type in between and not _is_layer(view, index)

    def towards_logits(index: int) -> Iterable[int]:
        # The positions of a GridSample are another rule's.
        maps = view.nodes[index].input[: 1 if view.nodes[index].op_type == "GridSample" else None]
        return dict.fromkeys(view.producers[name] for name in maps if name in view.producers)

    last = [view.producers[name] for name in view.output_names if name in view.producers]
    found = view.reached([i for i in last if sums_up(i)], towards_logits, sums_up) | set(last)
    return {index for index in found if sums_up(index) or _is_layer(view, index)} | set(last)


def _is_layer(view: GraphView, index: int) -> bool:
    """Whether a node mixes channels or weighs each of them, with weights."""
    node = view.nodes[index]
    if node.op_type in WEIGHTED:
        return True
    weights = [constant for name in node.input if (constant := view.constant(name)) is not None]
    return node.op_type == "Mul" and any(weight.size > 1 for weight in weights)


def _hamburger(view: GraphView) -> Iterator[int]:
    return (index for index, node in enumerate(view.nodes) if "hamburger" in module_of(node).lower())


def _without_half(view: GraphView) -> Iterator[int]:
    """What has no form in half, makes floats of something else, or changes types by itself."""
    opset = opset_of(view.model)
    for index, node in enumerate(view.nodes):
        if node.op_type in (QUANTISE, DEQUANTISE):
            continue
        taken = [takes_half(node, k, opset) for k, name in enumerate(node.input) if view.is_float(name)]
        made = [gives_half(node, k, opset) for k, name in enumerate(node.output) if view.is_float(name)]
        if node.op_type == "Cast" or not any(taken) or not all(made):
            yield index


def unfit(view: GraphView) -> Iterator[int]:
    """What takes a constant that half can't hold."""
    opset = opset_of(view.model)
    for index, node in enumerate(view.nodes):
        fits = scale_fits_half if node.op_type in (QUANTISE, DEQUANTISE) else fits_half
        for position, name in enumerate(node.input):
            if view.is_float(name) and takes_half(node, position, opset):
                constant = view.constant(name)
                if constant is not None and not fits(constant):
                    yield index


def has_floats(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether `node` takes or makes float32."""
    return any(view.is_float(name) for name in (*node.input, *node.output))


def fits_half(value: ArrayLike) -> bool:
    """Whether half can hold a constant: what is finite stays finite, and not all of it becomes zero."""
    exact = np.asarray(value)
    with np.errstate(over="ignore", under="ignore"):
        half = exact.astype(np.float16)
    return bool(np.isfinite(half[np.isfinite(exact)]).all() and (half.any() or not exact.any()))


def scale_fits_half(value: ArrayLike) -> bool:
    """Whether half can hold the scales of a quantisation with all of its digits."""
    scale = np.asarray(value)
    return fits_half(scale) and bool((np.abs(scale) >= HALF_NORMAL_MIN).all())


def takes_half(node: onnx.NodeProto, position: int, opset: int) -> bool:
    """Whether input `position` of `node` may be float16 (the factors of a Resize may not)."""
    inputs, _ = _halves_of(node.op_type, node.domain, opset)
    return bool(inputs) and inputs[min(position, len(inputs) - 1)]


def gives_half(node: onnx.NodeProto, position: int, opset: int) -> bool:
    """Whether output `position` of `node` may be float16."""
    _, outputs = _halves_of(node.op_type, node.domain, opset)
    return bool(outputs) and outputs[min(position, len(outputs) - 1)]


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default domain."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


@cache
def _halves_of(operator: str, domain: str, opset: int) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Return which inputs and outputs of an operator may be float16, by its schema; the last one may repeat."""
    try:
        schema = onnx.defs.get_schema(operator, opset, domain)
    except onnx.defs.SchemaError:
        return (), ()
    allowed = {entry.type_param_str: set(entry.allowed_type_strs) for entry in schema.type_constraints}

    def may_be_half(kind: str) -> bool:
        return "tensor(float16)" in allowed.get(kind, {kind})

    return tuple(may_be_half(x.type_str) for x in schema.inputs), tuple(may_be_half(x.type_str) for x in schema.outputs)


RULES: Final[tuple[tuple[str, Callable[[GraphView], Iterable[int]]], ...]] = (
    ("input normalisation", _input_normalisation),
    ("attention scores", _attention_scores),
    ("sampling positions", _sampling_positions),
    ("logits", _logits),
    ("Hamburger", _hamburger),
    ("exponents and norms", _of(EXPONENTS | NORMS)),
    ("reductions", _of(REDUCTIONS)),
    ("resize", _of({"Resize", "Upsample"})),
    ("no form in half", _without_half),
)
