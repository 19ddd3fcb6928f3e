"""Lint rules about number types and quantisation: what an FP16 or INT8 graph is refused for, or silently wrong.

Sources: trials with the parsers of TensorRT-RTX 1.7 (float16 X beside a float32 grid and int32 DequantizeLinear are
refused; uint8 zero points and float64 pass there, and not in TensorRT 10.3); the operator tables of onnx-tensorrt,
docs/operators.md of 8.5 and of 10.15, which both demand zero points of 0; TensorRT issue 4723 for transformers that
FP16 breaks in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto

from .facts import CPU, Facts, Rule, called, settings_of, type_name

QUANTISE: Final = "QuantizeLinear"
DEQUANTISE: Final = "DequantizeLinear"
# float64 and complex have no layer, bfloat16 none on the CPU and none before Ampere, uint8 is for inputs alone.
KNOWN_TYPES: Final = frozenset(
    (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL)
)
# What FP16 breaks without a word: exponents and sums of squares.
FULL_PRECISION: Final = ("Softmax", "LogSoftmax", "LayerNormalization")


def quantisation_is_int8_around_zero(facts: Facts) -> Iterator[str]:
    """8-bit tensors are int8, and their zero points 0: TensorRT quantises symmetrically or not at all.

    A graph for the CPU may have uint8 and any zero point: its int8 kernels take activations of such a kind.
    """
    for node in facts.nodes(QUANTISE, DEQUANTISE):
        kind = facts.types.get(node.output[0] if node.op_type == QUANTISE else node.input[0], 0)
        if kind == TensorProto.INT32:
            continue  # the next rule's
        allowed = (TensorProto.INT8, TensorProto.UINT8) if facts.target == CPU else (TensorProto.INT8,)
        if kind not in allowed:
            hint = ", which no zero point means" if node.op_type == QUANTISE and len(node.input) == 2 else ""
            yield f"{called(node)} has a quantised side that is {type_name(kind)}, not int8{hint}"
            continue
        if len(node.input) < 3 or not node.input[2]:
            continue
        zero_point = facts.constant(node.input[2])
        if zero_point is None:
            yield f"{called(node)} has no constant zero point"
        elif facts.target != CPU and np.any(zero_point):
            yield f"{called(node)} has a zero point of {zero_point[zero_point != 0].flat[0]}, not 0"


def no_quantised_bias(facts: Facts) -> Iterator[str]:
    """No DequantizeLinear of int32, which is how ONNX Runtime's quantiser writes biases and TensorRT reads none.

    The kernels of the CPU want it: a graph for it may.
    """
    if facts.target == CPU:
        return
    for node in facts.nodes(DEQUANTISE):
        if facts.types.get(node.input[0]) == TensorProto.INT32:
            yield f"{called(node)} dequantises int32, a bias; leave biases in floating point"


def scales_by_channel_are_on_weights(facts: Facts) -> Iterator[str]:
    """A scale with more than one value belongs to a constant, along the axis of its output channels, one a channel."""
    for node in facts.nodes(QUANTISE, DEQUANTISE):
        dims = facts.dims.get(node.input[1])
        if dims is None or int(np.prod(dims)) == 1:
            continue
        of = facts.dims.get(node.input[0], ())
        axis = settings_of(node).get("axis", 1)
        axis = axis + len(of) if axis < 0 else axis
        if not _is_weight(facts, node.input[0]):
            yield f"{called(node)} has a scale for each channel of something that is no weight"
        elif len(dims) != 1 or not 0 <= axis < len(of) or of[axis] != dims[0]:
            yield f"{called(node)} has {list(dims)} scales along axis {axis} of {list(of)}"
        elif node.op_type == DEQUANTISE:
            for taker in facts.takers.get(node.output[0], ()):
                expected = _axis_of_outputs(taker, list(taker.input).index(node.output[0]), len(of))
                if axis != expected:
                    yield f"{called(node)} has scales along axis {axis}, and {called(taker)} needs {expected}"


def scales_are_positive_constants(facts: Facts) -> Iterator[str]:
    """Scales are constants, finite and above 0, in float16 too, where small ones vanish."""
    for node in facts.nodes(QUANTISE, DEQUANTISE):
        scale = facts.constant(node.input[1])
        if scale is None:
            yield f"{called(node)} has no constant scale"
        elif not (np.isfinite(scale).all() and (scale > 0).all()):
            yield f"{called(node)} has a scale that is not above 0 and finite"


def positions_are_float32(facts: Facts) -> Iterator[str]:
    """GridSample's map and positions are float32, both: halves are off by up to 0.06 px, and a mixture is refused.

    Where sampling is written with gathers (`gather_sampling.py`), its floors and indices come from float32 too: a pass
    that goes to half precision after it does not know them for positions.
    """
    for node in facts.nodes("GridSample"):
        kinds = [facts.types.get(name, 0) for name in node.input]
        if any(kind != TensorProto.FLOAT for kind in kinds):
            yield f"{called(node)} takes {' and '.join(map(type_name, kinds))}, not float32 and float32"
    for node in facts.nodes("Floor", "Cast"):
        is_index = node.op_type == "Floor" or settings_of(node)["to"] in (TensorProto.INT32, TensorProto.INT64)
        if is_index and facts.types.get(node.input[0]) == TensorProto.FLOAT16:
            yield f"{called(node)} takes a position in float16, not float32; write gathers after going to half"


def sums_of_exponents_and_squares_are_float32(facts: Facts) -> Iterator[str]:
    """Softmax and LayerNormalization compute in float32."""
    for node in facts.nodes(*FULL_PRECISION):
        kinds = {facts.types.get(name, 0) for name in node.input if name} - {TensorProto.FLOAT}
        if kinds:
            yield f"{called(node)} takes {' and '.join(sorted(map(type_name, kinds)))}, not float32"
        elif settings_of(node).get("stash_type", TensorProto.FLOAT) != TensorProto.FLOAT:
            yield f"{called(node)} normalises in another type than float32"


def halves_are_finite(facts: Facts) -> Iterator[str]:
    """No float16 constant is infinite or not a number: it was out of range before the cast."""
    for name, tensor in facts.tensors.items():
        if tensor.data_type == TensorProto.FLOAT16:
            value = facts.constant(name)
            if value is not None and not np.isfinite(value).all():
                yield f"{facts.origin(name)} has {np.count_nonzero(~np.isfinite(value))} values beyond float16"


def only_known_types(facts: Facts) -> Iterator[str]:
    """No type but `KNOWN_TYPES`: no float64, bfloat16, string or complex; in a graph for the CPU uint8 too."""
    known = KNOWN_TYPES | {TensorProto.UINT8} if facts.target == CPU else KNOWN_TYPES
    for name, kind in facts.types.items():
        if kind and kind not in known:
            yield f"{facts.origin(name)} is {type_name(kind)}"


def _is_weight(facts: Facts, tensor: str) -> bool:
    """Whether `tensor` is a constant, or one that was quantised on the spot."""
    maker = facts.makers.get(tensor)
    if maker is not None and maker.op_type == QUANTISE:
        tensor = maker.input[0]
    return tensor in facts.tensors


def _axis_of_outputs(node: onnx.NodeProto, position: int, rank: int) -> int | None:
    """Return the axis of the output channels in input `position` of `node`; None where scales by channel can't be."""
    settings = settings_of(node)
    return {
        ("Conv", 1): 0,
        ("ConvTranspose", 1): 1,
        ("MatMul", 0): rank - 2,
        ("MatMul", 1): rank - 1,
        ("Gemm", 0): settings.get("transA", 0),
        ("Gemm", 1): 1 - settings.get("transB", 0),
    }.get((node.op_type, position))


PRECISION_RULES: Final[tuple[Rule, ...]] = (
    quantisation_is_int8_around_zero,
    no_quantised_bias,
    scales_by_channel_are_on_weights,
    scales_are_positive_constants,
    positions_are_float32,
    sums_of_exponents_and_squares_are_float32,
    halves_are_finite,
    only_known_types,
)
