"""Lint rules that a graph is held to: what is known to go wrong on the way into TensorRT.

Each rule is a function that yields one line a finding. The sources are the TensorRT and onnx-tensorrt trackers and
trials with its parsers: GridSample is misread from opset 20 on (TensorRT issue 4646), `Attention` (opset 23), Resize
with antialias, double and foreign domains are refused, shape arithmetic costs engines their fusions, and a Resize can
shift a map against PyTorch's (TensorRT issues 273 and 974). The rules about number types and quantisation are in
`precision_rules.py`.

A graph made for the CPU is held to the same, but for what INT8 kernels of the CPU need: uint8 tensors, zero points
other than 0 and biases in int32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from kda_edge.errors import ExportError
from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME

from .facts import TENSORRT, Facts, Rule, called, settings_of
from .precision_rules import PRECISION_RULES

OPSET: Final = 19
IR_VERSION_MAX: Final = 10
# By mode of a Resize: the coordinates that PyTorch means by it, between pixel centres where it mixes pixels. In a graph
# for one tile size the two half-pixel forms differ in nothing but a result of one pixel.
RESIZE_COORDINATES: Final = {b"linear": (b"half_pixel", b"pytorch_half_pixel"), b"nearest": (b"asymmetric",)}
# What exported graphs of students, other heads and peers are made of, the casts and quantisers of the precisions, and
# what sampling by gathers needs. All are in the operator table of onnx-tensorrt (docs/operators.md) both for TensorRT
# 8.5 and for 10.15, LayerNormalization since 8.6, and so in 10.3 between them, whose own table was not at hand.
# fmt: off
OPERATORS: Final = frozenset((  # a line for each would say no more
    "Add", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "ConvTranspose",
    "DepthToSpace", "DequantizeLinear", "Div", "Erf", "Expand", "Floor", "Gather", "GatherElements", "Gemm",
    "GridSample", "LayerNormalization", "MatMul", "Max", "MaxPool", "Min", "Mul",
    "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "Sigmoid", "Slice",
    "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze",
))
# fmt: on
DEFAULT_DOMAIN: Final = ("", "ai.onnx")
# Operators that must not be left, with the reason that the message gives.
BARRED: Final = {
    "Attention": "no TensorRT release parses it",
    "Shape": "shapes must be constants",
    "If": "the graph must be straight",
    "Loop": "the graph must be straight",
    "Scan": "the graph must be straight",
}


def opset_is_19(facts: Facts) -> Iterator[str]:
    """Opset 19 of the default domain, exactly."""
    versions = [entry.version for entry in facts.model.opset_import if entry.domain in DEFAULT_DOMAIN]
    if versions != [OPSET]:
        yield f"the default domain has opset {versions}, not {OPSET}"


def ir_version_is_old_enough(facts: Facts) -> Iterator[str]:
    """An IR version that TensorRT 10.3 and ONNX Runtime 1.18 read."""
    if not 0 < facts.model.ir_version <= IR_VERSION_MAX:
        yield f"IR version {facts.model.ir_version} is not within 1..{IR_VERSION_MAX}"


def only_the_default_domain(facts: Facts) -> Iterator[str]:
    """No operator, function or import of a foreign domain."""
    foreign: dict[str, str] = {entry.domain: "an import" for entry in facts.model.opset_import}
    for node in reversed(facts.model.graph.node):
        foreign[node.domain] = called(node)
    for domain in sorted(foreign.keys() - set(DEFAULT_DOMAIN)):
        yield f"the domain {domain!r} is used by {foreign[domain]}"
    for function in facts.model.functions:
        yield f"the model carries a function of its own, {function.name}"


def no_barred_operator(facts: Facts) -> Iterator[str]:
    """None of `BARRED`."""
    for node in facts.nodes(*BARRED):
        yield f"{called(node)} is a {node.op_type}: {BARRED[node.op_type]}"


def only_listed_operators(facts: Facts) -> Iterator[str]:
    """None beyond `OPERATORS`; a foreign or barred one is the finding of another rule."""
    for node in facts.model.graph.node:
        if node.domain in DEFAULT_DOMAIN and node.op_type not in OPERATORS and node.op_type not in BARRED:
            yield f"{called(node)} is a {node.op_type}, not among the operators that exported graphs have"


def no_data_outside(facts: Facts) -> Iterator[str]:
    """Every constant is in the file: an artifact is one file, and its digest is of all of it."""
    for name, tensor in facts.tensors.items():
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield f"{facts.origin(name)} lies outside of the file"


def grid_samples_are_bilinear_in_4d(facts: Facts) -> Iterator[str]:
    """GridSample on 4-D maps, bilinear, border padding, pixel centres at half."""
    for node in facts.nodes("GridSample"):
        settings, name = settings_of(node), called(node)
        ranks = [len(facts.dims[tensor]) if tensor in facts.dims else None for tensor in node.input]
        if settings.get("mode", b"bilinear") != b"bilinear":  # what opset 19 calls it; 20 says linear
            yield f"{name} samples in mode {settings['mode'].decode()}, not bilinear"
        if settings.get("padding_mode", b"zeros") != b"border":
            yield f"{name} does not pad with the border"
        if settings.get("align_corners", 0) != 0:
            yield f"{name} aligns corners"
        if any(rank != 4 for rank in ranks):
            yield f"{name} takes {ranks} dimensions, not 4"


def resizes_are_exact(facts: Facts) -> Iterator[str]:
    """Resize in the one form that TensorRT 10.3 to 11 and ONNX Runtime read alike.

    Bilinear between pixel centres or nearest from the corner; factors that are constants (a constant size would fix
    the batch too, a computed one needs Shape), and whole or powers of two: no size and no nearest pixel hangs on
    rounding. `align_corners` is barred though both engines know it: its pixels move with the size of the tile.
    """
    for node in facts.nodes("Resize"):
        settings, name = settings_of(node), called(node)
        mode = settings.get("mode", b"nearest")
        coordinates = settings.get("coordinate_transformation_mode", b"half_pixel")
        if mode not in RESIZE_COORDINATES:
            yield f"{name} resizes in mode {mode.decode()}, not nearest or linear"
        elif coordinates not in RESIZE_COORDINATES[mode]:
            yield f"{name} resizes in mode {mode.decode()} with {coordinates.decode()} coordinates"
        if mode == b"nearest" and settings.get("nearest_mode", b"round_prefer_floor") != b"floor":
            yield f"{name} does not take the nearest pixel from the corner (floor)"
        if settings.get("antialias", 0) != 0:
            yield f"{name} resizes with antialias"
        if settings.get("exclude_outside", 0) != 0:
            yield f"{name} leaves pixels outside of the map out"
        if "axes" in settings:
            yield f"{name} resizes named axes"
        factors = facts.constant(node.input[2]) if len(node.input) == 3 else None
        if factors is None:
            yield f"{name} has no constant factors"
        elif not _are_exact(factors):
            yield f"{name} resizes by {factors.tolist()}, not by 1, 1 and two whole numbers or powers of two"


def _are_exact(factors: NDArray[np.generic]) -> bool:
    if factors.shape != (4,) or factors[0] != 1 or factors[1] != 1:
        return False
    # A mantissa of a half, as frexp splits it, is that of a power of two.
    return all(factor > 0 and (factor % 1 == 0 or np.frexp(factor)[0] == 0.5) for factor in factors[2:])


def interface_is_the_contract(facts: Facts) -> Iterator[str]:
    """`image` (N, 3, T, T) in, `probability` (N, 1, T, T) out, float32, T a number, N the only symbol."""
    graph = facts.model.graph
    for values, name, channels in ((graph.input, INPUT_NAME, 3), (graph.output, OUTPUT_NAME, 1)):
        if [value.name for value in values] != [name]:
            yield f"the graph has {[value.name for value in values]} where it must have {name!r} alone"
            continue
        tensor = values[0].type.tensor_type
        dims = [dim.dim_value for dim in tensor.shape.dim]  # 0 where symbolic
        if tensor.elem_type != onnx.TensorProto.FLOAT:
            yield f"{name} is not float32"
        if len(dims) != 4 or dims[1] != channels or dims[2] != dims[3] or dims[2] <= 0:
            yield f"{name} has the shape {dims}, not (N, {channels}, T, T) with a fixed T"


RULES: Final[tuple[Rule, ...]] = (
    opset_is_19,
    ir_version_is_old_enough,
    only_the_default_domain,
    no_barred_operator,
    only_listed_operators,
    no_data_outside,
    grid_samples_are_bilinear_in_4d,
    resizes_are_exact,
    interface_is_the_contract,
    *PRECISION_RULES,
)


def findings(model: onnx.ModelProto, target: str = TENSORRT) -> list[str]:
    """Return what every rule finds, one line each; empty for a graph that is in order.

    Args:
        model: any graph.
        target: what it is made for: `tensorrt`, the stricter, or `cpu`.
    """
    facts = Facts.of(model, target)
    return [line for rule in RULES for line in rule(facts)]


def require_clean(model: onnx.ModelProto, target: str = TENSORRT) -> None:
    """Raise `ExportError` with the first finding, if there is one; `target` as in `findings`."""
    found = findings(model, target)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        where = "TensorRT" if target == TENSORRT else "other runtimes"
        raise ExportError(
            f"the graph would go wrong in {where}: {found[0]}{more}; nothing was written: "
            "export it in FP32, or try another version of torch"
        )
