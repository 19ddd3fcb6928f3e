"""INT8: a float32 graph with QuantizeLinear and DequantizeLinear in front of its weighted layers.

TensorRT's builder and the CPU engines read the same file: int8 around 0, one scale for an activation, one for each
output channel of a weight, biases in floating point. A pair of Q and DQ stands on each layer's input; outputs have
none, so what lies between layers computes as before, and `fp16.py` may take it to half precision.

**By rule**, these stay in floating point:

- products of two activations: attention's scores and values;
- the first layer: pixels in 127 steps cost the bundled student half to two thirds of all that INT8 loses, for one of
  61 layers whose three channels fill no integer kernel;
- depthwise convolutions: as few products as they have, a conversion of their map costs more than it saves;
- convolutions that yield sampling positions: a step of 1/127 of their range is whole pixels;
- the last layer: its steps would be steps of the logit. A folded head is a product and a sum, in float anyway.

**Kept out** besides are the modules that a search (`sensitivity.py`) found to lose too much.

The nodes are written here and not by `onnxruntime.quantization`: the part of it that takes ranges measured elsewhere is
not among its documented interfaces, and it names by its own counters. `tests/export/precision/test_int8.py` holds its
weights, scales and answers to a quantiser in plain numpy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from kda_edge.errors import ExportError, one_line

from ..graphs.graph_view import GraphView, is_within, module_of

OPERATORS: Final = ("Conv", "MatMul", "Gemm")
# ONNX Runtime has integer kernels for a MatMul with a float result, none for such a Conv (its own want the result
# quantised too) and only some Gemm: there, Q and DQ round the others are a cost without a gain.
CPU_OPERATORS: Final = ("MatMul",)
LEVELS: Final = 127  # on each side of 0; -128 is not used, so that the negative of a value is as exact as the value
# Least scale: the smallest normal half, so that it survives `fp16.py` with all of its digits; zeros need one too.
SCALE_MIN: Final = float(np.finfo(np.float16).smallest_normal)
ZERO_POINT: Final = "int8_zero_point"


@dataclass(frozen=True)
class Ranges:
    """How far the activations of a graph reach, measured once (`ranges.py`) for every graph that is made from it.

    Attributes:
        method: how they were measured.
        magnitudes: tensor -> the largest magnitude that its int8 has to hold; what lies beyond is clipped.
    """

    method: str
    magnitudes: Mapping[str, float]

    def __post_init__(self) -> None:
        for tensor, magnitude in self.magnitudes.items():
            if not (np.isfinite(magnitude) and magnitude >= 0):
                raise ExportError(f"{tensor} reaches {magnitude} on the calibration tiles; check the checkpoint")

    def scale_of(self, tensor: str) -> NDArray[np.float32]:
        """Return the step between two values of the int8 of `tensor`, a scalar above 0.

        Raises:
            ExportError: the tensor was not measured.
        """
        if tensor not in self.magnitudes:
            raise ExportError(f"the range of {tensor} was not measured; measure the ranges on this graph")
        return _scale(np.float32(self.magnitudes[tensor]))


def candidates(model: onnx.ModelProto, *, operators: Collection[str] = OPERATORS) -> tuple[str, ...]:
    """Return the names of the nodes to quantise, in the order of the graph.

    Args:
        model: float32, a straight graph.
        operators: of `OPERATORS`; `CPU_OPERATORS` for the CPU.
    """
    view = GraphView.of(model)
    return tuple(view.nodes[index].name for index in _candidates(view, operators))


def quantised_graph(
    model: onnx.ModelProto,
    ranges: Ranges,
    *,
    kept_out: Collection[str] = (),
    operators: Collection[str] = OPERATORS,
) -> onnx.ModelProto:
    """Return `model` in INT8 but for what the rules and `kept_out` leave in float32; equal inputs give equal bytes.

    Args:
        model: float32, opset 13 to 19; left as it is.
        ranges: of the inputs of its `candidates`.
        kept_out: modules to stay float32 besides, such as `encoder.block1.0.mlp` (`graph_view.is_within`).
        operators: of `OPERATORS`; `CPU_OPERATORS` for the CPU.

    Raises:
        ExportError: no node is of a module that is kept out, a range is missing, or `onnx.checker` refuses the result.
    """
    view = GraphView.of(model)
    for group in kept_out:
        if not any(is_within(node, group) for node in view.nodes):
            raise ExportError(f"no node of the graph is of the module {group!r}; name a module of this graph")
    chosen = {
        index
        for index in _candidates(view, operators)
        if not any(is_within(view.nodes[index], group) for group in kept_out)
    }
    writer = _Writer(view, ranges, chosen)
    nodes = list(writer.nodes())
    needed = {name for node in nodes for name in node.input}
    written = onnx.ModelProto()
    written.CopyFrom(model)
    for part in ("node", "initializer", "value_info"):
        written.graph.ClearField(part)
    written.graph.node.extend(nodes)
    written.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    written.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in writer.constants.items()
    )
    try:
        onnx.checker.check_model(written, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"onnx.checker refuses the graph in int8: {one_line(error)}; export it without --int8"
        ) from error
    return written


class _Writer:
    """A graph's nodes, with Q and DQ in front of the chosen ones; `constants` are what Q and DQ take."""

    def __init__(self, view: GraphView, ranges: Ranges, chosen: Collection[int]) -> None:
        self.view, self.ranges, self.chosen = view, ranges, chosen
        self.constants: dict[str, NDArray[Any]] = {}
        self.made: set[str] = set()
        self.count = 0

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Yield the nodes in order; a tensor that several layers take is quantised once, before the first."""
        for index, node in enumerate(self.view.nodes):
            if index not in self.chosen:
                yield node
                continue
            written = onnx.NodeProto()
            written.CopyFrom(node)
            axis = _axis_of_outputs(node)
            written.input[0] = f"{node.input[0]}.dequantised"
            written.input[1] = f"{node.input[1]}.dequantised_{axis}"
            if written.input[0] not in self.made:
                yield from self._activation(node.input[0], written.input[0], module_of(node))
            if written.input[1] not in self.made:
                yield self._weight(node.input[1], axis, written.input[1], module_of(node))
            self.made.update(written.input[:2])
            yield written

    def _activation(self, name: str, dequantised: str, module: str) -> Iterator[onnx.NodeProto]:
        scale = self._constant(f"{name}.scale", self.ranges.scale_of(name))
        zero = self._constant(ZERO_POINT, np.zeros((), np.int8))
        yield self._make("QuantizeLinear", [name, scale, zero], f"{name}.int8", module)
        yield self._make("DequantizeLinear", [f"{name}.int8", scale, zero], dequantised, module)

    def _weight(self, name: str, axis: int, dequantised: str, module: str) -> onnx.NodeProto:
        value = self.view.constant(name)
        assert value is not None  # a candidate's
        channels = np.abs(np.moveaxis(value, axis, 0)).reshape(value.shape[axis], -1)
        scales = _scale(channels.max(axis=1))
        steps = value / np.expand_dims(scales, [other for other in range(value.ndim) if other != axis])
        stored = np.clip(np.rint(steps), -LEVELS, LEVELS).astype(np.int8)
        inputs = [
            self._constant(f"{name}.int8_{axis}", stored),
            self._constant(f"{name}.scales_{axis}", scales),
            self._constant(f"{ZERO_POINT}s_{len(scales)}", np.zeros(len(scales), np.int8)),
        ]
        return self._make("DequantizeLinear", inputs, dequantised, module, axis=axis)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[name] = value
        return name

    def _make(self, operator: str, inputs: list[str], output: str, module: str, **settings: Any) -> onnx.NodeProto:
        name = f"{module}/{operator}_{self.count}"
        self.count += 1
        return onnx.helper.make_node(operator, inputs, [output], name=name, **settings)


def _candidates(view: GraphView, operators: Collection[str]) -> Iterator[int]:
    barred = _from_pixels(view) | _towards_positions(view) | _towards_answer(view)
    for index, node in enumerate(view.nodes):
        if (
            node.op_type in operators
            and index not in barred
            and _is_layer(view, node)
            and not _is_depthwise(view, node)
        ):
            yield index


def _is_layer(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a node is a product of an activation with float32 weights that have an axis of output channels."""
    if node.op_type not in OPERATORS or not view.is_float(node.input[1]) or view.constant(node.input[0]) is not None:
        return False
    weight = view.constant(node.input[1])
    return weight is not None and weight.ndim >= 2 and (node.op_type != "MatMul" or weight.ndim == 2)


def _is_depthwise(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether each output channel of a Conv sees one input channel."""
    groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
    return node.op_type == "Conv" and groups > 1 and view.shapes[node.input[1]][1] == 1


def _axis_of_outputs(node: onnx.NodeProto) -> int:
    """Return the axis of the output channels in the weight of a layer."""
    if node.op_type == "Gemm":
        return 1 - next((entry.i for entry in node.attribute if entry.name == "transB"), 0)
    return 0 if node.op_type == "Conv" else 1


def _from_pixels(view: GraphView) -> set[int]:
    """What is computed from the input, up to the first layers."""
    takers = [index for name in view.input_names for index in view.consumers.get(name, ())]
    starts = [index for index in takers if view.nodes[index].op_type not in OPERATORS]
    found = view.reached(starts, view.after, lambda index: view.nodes[index].op_type not in OPERATORS)
    return found | set(takers)


def _towards_positions(view: GraphView) -> set[int]:
    """The positions of each GridSample, and what they are computed from, back to the layers that yield them."""
    positions = [node.input[1] for node in view.nodes if node.op_type == "GridSample"]
    makers = [view.producers[name] for name in positions if name in view.producers]
    starts = [index for index in makers if view.nodes[index].op_type not in OPERATORS]
    found = view.reached(starts, view.before, lambda index: view.nodes[index].op_type not in OPERATORS)
    return found | set(makers)


def _towards_answer(view: GraphView) -> set[int]:
    """What the answer is computed from, back to the last layer; a product with a weight a channel counts as one."""

    def is_last(index: int) -> bool:
        node = view.nodes[index]
        constants = [constant for name in node.input if (constant := view.constant(name)) is not None]
        return node.op_type in OPERATORS or (node.op_type == "Mul" and any(c.size > 1 for c in constants))

    def before(index: int) -> Iterator[int]:
        node = view.nodes[index]
        maps = node.input[:1] if node.op_type == "GridSample" else node.input
        yield from dict.fromkeys(view.producers[name] for name in maps if name in view.producers)

    answers = [view.producers[name] for name in view.output_names if name in view.producers]
    starts = [index for index in answers if not is_last(index)]
    return view.reached(starts, before, lambda index: not is_last(index)) | set(answers)


def _scale(magnitude: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    return np.asarray(np.maximum(magnitude / np.float32(LEVELS), np.float32(SCALE_MIN)), np.float32)
