"""What is known to go wrong with a graph on its way into TensorRT, as rules that a graph is held to.

Each rule is a function that yields one line a finding. The sources are the TensorRT and onnx-tensorrt trackers and
trials with its parsers: GridSample is misread from opset 20 on (TensorRT issue 4646), `Attention` (opset 23), Resize
with antialias, double and foreign domains are refused, shape arithmetic costs engines their fusions, and a Resize can
shift a map against PyTorch's (TensorRT issues 273 and 974).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from kda_edge.errors import ExportError

OPSET: Final = 19
IR_VERSION_MAX: Final = 10
INPUT_NAME: Final = "image"
OUTPUT_NAME: Final = "probability"
# By mode of a Resize: the coordinates that PyTorch means by it, between pixel centres where it mixes pixels. In a graph
# for one tile size the two half-pixel forms differ in nothing but a result of one pixel.
RESIZE_COORDINATES: Final = {b"linear": (b"half_pixel", b"pytorch_half_pixel"), b"nearest": (b"asymmetric",)}
# Operators that must not be left, with the reason that the message gives.
BARRED: Final = {
    "Attention": "no TensorRT release parses it",
    "Shape": "shapes must be constants",
    "If": "the graph must be straight",
    "Loop": "the graph must be straight",
    "Scan": "the graph must be straight",
}

Rule = Callable[[onnx.ModelProto], Iterator[str]]


def opset_is_19(model: onnx.ModelProto) -> Iterator[str]:
    """Opset 19 of the default domain, exactly."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if versions != [OPSET]:
        yield f"the default domain has opset {versions}, not {OPSET}"


def ir_version_is_old_enough(model: onnx.ModelProto) -> Iterator[str]:
    """An IR version that TensorRT 10.3 and ONNX Runtime 1.18 read."""
    if not 0 < model.ir_version <= IR_VERSION_MAX:
        yield f"IR version {model.ir_version} is not within 1..{IR_VERSION_MAX}"


def only_the_default_domain(model: onnx.ModelProto) -> Iterator[str]:
    """No operator, function or import of a foreign domain."""
    foreign = {node.domain for node in model.graph.node} | {entry.domain for entry in model.opset_import}
    for domain in sorted(foreign - {"", "ai.onnx"}):
        yield f"the domain {domain!r} is used"
    for function in model.functions:
        yield f"the model carries a function of its own, {function.name}"


def no_barred_operator(model: onnx.ModelProto) -> Iterator[str]:
    """None of `BARRED`."""
    for node in model.graph.node:
        if node.op_type in BARRED:
            yield f"{node.name} is a {node.op_type}: {BARRED[node.op_type]}"


def grid_samples_are_bilinear_in_4d(model: onnx.ModelProto) -> Iterator[str]:
    """GridSample on 4-D maps, bilinear, border padding, pixel centres at half."""
    ranks = _ranks(model)
    for node in model.graph.node:
        if node.op_type != "GridSample":
            continue
        settings = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if settings.get("mode", b"bilinear") != b"bilinear":  # what opset 19 calls it; 20 says linear
            yield f"{node.name} samples in mode {settings['mode'].decode()}, not bilinear"
        if settings.get("padding_mode", b"zeros") != b"border":
            yield f"{node.name} does not pad with the border"
        if settings.get("align_corners", 0) != 0:
            yield f"{node.name} aligns corners"
        if any(ranks.get(name) != 4 for name in node.input):
            yield f"{node.name} takes {[ranks.get(name) for name in node.input]} dimensions, not 4"


def resizes_are_exact(model: onnx.ModelProto) -> Iterator[str]:
    """Resize in the one form that TensorRT 10.3 to 11 and ONNX Runtime read alike.

    Bilinear between pixel centres or nearest from the corner; factors that are constants (a constant size would fix
    the batch too, a computed one needs Shape), and whole or powers of two: no size and no nearest pixel hangs on
    rounding. `align_corners` is barred though both engines know it: its pixels move with the size of the tile.
    """
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Resize":
            continue
        settings = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        mode = settings.get("mode", b"nearest")
        coordinates = settings.get("coordinate_transformation_mode", b"half_pixel")
        if mode not in RESIZE_COORDINATES:
            yield f"{node.name} resizes in mode {mode.decode()}, not nearest or linear"
        elif coordinates not in RESIZE_COORDINATES[mode]:
            yield f"{node.name} resizes in mode {mode.decode()} with {coordinates.decode()} coordinates"
        if mode == b"nearest" and settings.get("nearest_mode", b"round_prefer_floor") != b"floor":
            yield f"{node.name} does not take the nearest pixel from the corner (floor)"
        if settings.get("antialias", 0) != 0:
            yield f"{node.name} resizes with antialias"
        if settings.get("exclude_outside", 0) != 0:
            yield f"{node.name} leaves pixels outside of the map out"
        if "axes" in settings:
            yield f"{node.name} resizes named axes"
        factors = constants.get(node.input[2]) if len(node.input) == 3 else None
        if factors is None:
            yield f"{node.name} has no constant factors"
        elif not _are_exact(factors):
            yield f"{node.name} resizes by {factors.tolist()}, not by 1, 1 and two whole numbers or powers of two"


def _are_exact(factors: NDArray[np.generic]) -> bool:
    if factors.shape != (4,) or factors[0] != 1 or factors[1] != 1:
        return False
    # A mantissa of a half, as frexp splits it, is that of a power of two.
    return all(factor > 0 and (factor % 1 == 0 or np.frexp(factor)[0] == 0.5) for factor in factors[2:])


def no_double(model: onnx.ModelProto) -> Iterator[str]:
    """No float64 anywhere: TensorRT has none."""
    double = onnx.TensorProto.DOUBLE
    for tensor in model.graph.initializer:
        if tensor.data_type == double:
            yield f"the constant {tensor.name} is float64"
    for value in _typed_values(model):
        if value.type.tensor_type.elem_type == double:
            yield f"{value.name} is float64"


def interface_is_the_contract(model: onnx.ModelProto) -> Iterator[str]:
    """`image` (N, 3, T, T) in, `probability` (N, 1, T, T) out, float32, T a number, N the only symbol."""
    graph = model.graph
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
    grid_samples_are_bilinear_in_4d,
    resizes_are_exact,
    no_double,
    interface_is_the_contract,
)


def findings(model: onnx.ModelProto) -> list[str]:
    """Return what every rule finds, one line each; empty for a graph that is in order."""
    return [line for rule in RULES for line in rule(model)]


def require_clean(model: onnx.ModelProto) -> None:
    """Raise `ExportError` with the first finding, if there is one."""
    found = findings(model)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ExportError(f"the graph would go wrong in TensorRT: {found[0]}{more}; try another version of torch")


def _typed_values(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return [*inferred.input, *inferred.value_info, *inferred.output]


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    ranks = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    typed = {
        v.name: len(v.type.tensor_type.shape.dim) for v in _typed_values(model) if v.type.tensor_type.HasField("shape")
    }
    return ranks | typed
