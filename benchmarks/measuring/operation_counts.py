"""Operations and bytes of an ONNX graph, the least that it computes and moves, counted from the graph itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import ArtifactError, MissingDependency

COUNTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
PER_MAC: Final = 2  # a multiplication and an addition


@dataclass(frozen=True)
class Work:
    """What one call on one tile takes.

    Attributes:
        flops: of convolutions and matrix products, two for a multiplication with its addition. Sums, activations,
            normalisation and resampling are not counted.
        least_bytes: weights, input and output, each moved once: what no cache can save.
    """

    flops: int
    least_bytes: int

    @property
    def intensity(self) -> float:
        """FLOP for each byte, at most."""
        return self.flops / self.least_bytes


def work_of(path: Path) -> Work:
    """Count a model file, one tile at a time.

    Raises:
        MissingDependency: onnx is not installed.
        ArtifactError: the shapes inside the graph can't be inferred.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency("onnx", extra="bench") from error
    model = onnx.load(path)
    for port in (*model.graph.input, *model.graph.output):
        batch = port.type.tensor_type.shape.dim[0]
        batch.Clear()
        batch.dim_value = 1
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ArtifactError(f"{path}: the shapes inside the graph can't be inferred; export it again") from error
    graph = model.graph
    shapes = {v.name: _shape(v) for v in (*graph.input, *graph.output, *graph.value_info)}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    # A constant may be a node; such nodes are weights as initializers are.
    constants = {
        n.output[0]: a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.HasField("t")
    }
    shapes |= {name: tuple(tensor.dims) for name, tensor in constants.items()}
    flops = sum(PER_MAC * macs_of(node, shapes, path) for node in graph.node if node.op_type in COUNTED)
    weights = sum(_bytes(tensor) for tensor in (*graph.initializer, *constants.values()))
    ports = sum(4 * math.prod(shapes[port.name]) for port in (*graph.input, *graph.output))
    return Work(flops, weights + ports)


def macs_of(node: Any, shapes: Mapping[str, tuple[int, ...]], path: Path) -> int:
    """Return the multiplications of one node.

    Raises:
        ArtifactError: a shape that is needed is not known.
    """
    names = [*node.input[:2], node.output[0]]
    missing = [name for name in names if 0 in shapes.get(name, (0,))]
    if missing:
        raise ArtifactError(f"{path}: the shape of {missing[0]} ({node.op_type}) is not known; export it again")
    first, second, out = (shapes[name] for name in names)
    if node.op_type == "Conv":  # weights (out, in / groups, kH, kW)
        return math.prod(out) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":  # weights (in, out / groups, kH, kW)
        return math.prod(first) * math.prod(second[1:])
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(out) * first[0 if transposed else 1]
    return math.prod(out) * first[-1]


def _shape(value: Any) -> tuple[int, ...]:
    """Return a shape; a dimension that is not known is 0."""
    return tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim)


def _bytes(tensor: Any) -> int:
    import onnx

    return int(math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
