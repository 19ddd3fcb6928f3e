"""Small ONNX graphs, written as text, and what each of their tensors is by plain numpy in the types of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def parsed(body: str, *, given: str, made: str, constants: Mapping[str, NDArray[Any]] | None = None) -> onnx.ModelProto:
    """Return a graph of opset 19.

    Args:
        body: nodes as `onnx.parser` reads them; a line `# decoder.UP1` says what module the lines below it are of.
        given: what the graph takes, `float[batch,3,8,8] image`.
        made: what it answers with.
        constants: initializers.
    """
    lines = [line.strip() for line in body.strip().splitlines()]
    code = "\n".join(line for line in lines if line and not line.startswith("#"))
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["":19]> g ({given}) => ({made}) {{ {code} }}')
    module, modules = "", []
    for line in lines:
        if line.startswith("#"):
            module = line[1:].strip()
        elif line:
            modules.append(module)
    for index, (node, of) in enumerate(zip(model.graph.node, modules, strict=True)):
        node.name = f"{of}/{node.op_type}_{index}"
    for name, value in (constants or {}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return model


def every_tensor(model: onnx.ModelProto, given: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return every tensor of a graph of simple operators, each node's result rounded to the type that it is in.

    numpy's float16 is the reference: an operation on halves is done in float32 and rounded to half. Types are not
    mixed, as the ONNX types demand.
    """
    tensors: Arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    tensors |= given
    with np.errstate(all="ignore"):
        for node in model.graph.node:
            settings = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
            values = [tensors[name] for name in node.input]
            kinds = {value.dtype for value in values if np.issubdtype(value.dtype, np.floating)}
            assert len(kinds) == 1, f"{node.name} mixes {kinds}"
            result = OPERATORS[node.op_type](values, settings)
            if node.op_type != "Cast":
                result = result.astype(values[0].dtype)
            tensors[node.output[0]] = np.asarray(result)
    return tensors


def _matmul(values: list[NDArray[Any]], _: Mapping[str, Any]) -> NDArray[Any]:
    return np.matmul(*(value.astype(np.float32) for value in values))


OPERATORS: dict[str, Callable[[list[NDArray[Any]], Mapping[str, Any]], NDArray[Any]]] = {
    "Add": lambda values, _: values[0] + values[1],
    "Cast": lambda values, a: values[0].astype(onnx.helper.tensor_dtype_to_np_dtype(a["to"])),
    "Concat": lambda values, a: np.concatenate(values, axis=a["axis"]),
    "Div": lambda values, _: values[0] / values[1],
    "Identity": lambda values, _: values[0],
    "MatMul": _matmul,
    "Max": lambda values, _: np.maximum(values[0], values[1]),
    "Mul": lambda values, _: values[0] * values[1],
    "Neg": lambda values, _: -values[0],
    "Relu": lambda values, _: np.maximum(values[0], 0),
    "Reshape": lambda values, _: values[0].reshape(values[1]),
    "Sqrt": lambda values, _: np.sqrt(values[0]),
    "Sub": lambda values, _: values[0] - values[1],
    "Transpose": lambda values, a: values[0].transpose(a["perm"]),
}
