"""Facts of a graph that the lint reads: types and shapes as onnx infers them, constants, who makes what.

Unlike `GraphView`, which passes over a graph that is in order, this takes any: finding out is what the rules are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import onnx
from numpy.typing import NDArray

TENSORRT: Final = "tensorrt"
CPU: Final = "cpu"


@dataclass(frozen=True)
class Facts:
    """A graph, indexed.

    Attributes:
        model: the graph itself.
        target: what it is made for, `TENSORRT` or `CPU`.
        makers: tensor -> the node that makes it; inputs and initializers are not in it.
        takers: tensor -> the nodes that take it, in order.
        types: tensor -> element type as in `onnx.TensorProto`, where it can be inferred.
        dims: tensor -> its sides, 0 where one is no number, where the rank can be inferred.
        tensors: constants by name, initializers and Constant nodes.
    """

    model: onnx.ModelProto
    target: str
    makers: Mapping[str, onnx.NodeProto]
    takers: Mapping[str, tuple[onnx.NodeProto, ...]]
    types: Mapping[str, int]
    dims: Mapping[str, tuple[int, ...]]
    tensors: Mapping[str, onnx.TensorProto]

    @classmethod
    def of(cls, model: onnx.ModelProto, target: str = TENSORRT) -> Facts:
        """Index `model`; what can't be inferred is left out."""
        inferred = onnx.shape_inference.infer_shapes(model).graph
        takers: dict[str, list[onnx.NodeProto]] = {}
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                takers.setdefault(name, []).append(node)
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                tensors[node.output[0]] = node.attribute[0].t
        typed = {value.name: value.type.tensor_type for value in (*inferred.input, *inferred.value_info)}
        typed |= {value.name: value.type.tensor_type for value in inferred.output}
        return cls(
            model=model,
            target=target,
            makers={name: node for node in model.graph.node for name in node.output if name},
            takers={name: tuple(nodes) for name, nodes in takers.items()},
            types={name: kind.elem_type for name, kind in typed.items()}
            | {name: tensor.data_type for name, tensor in tensors.items()},
            dims={name: tuple(d.dim_value for d in kind.shape.dim) for name, kind in typed.items() if _has_rank(kind)}
            | {name: tuple(tensor.dims) for name, tensor in tensors.items()},
            tensors=tensors,
        )

    def nodes(self, *operators: str) -> Iterator[onnx.NodeProto]:
        """Yield the nodes of these operators, in order."""
        return (node for node in self.model.graph.node if node.op_type in operators)

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of a constant; None for what is none, or lies outside of the file."""
        found = self.tensors.get(tensor)
        if found is None or found.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return onnx.numpy_helper.to_array(found)

    def origin(self, tensor: str) -> str:
        """Name `tensor` in a message by the node that makes it, or the first that takes it."""
        if tensor in self.makers:
            return f"{called(self.makers[tensor])} makes {tensor}, which"
        takers = self.takers.get(tensor, ())
        return f"{called(takers[0])} takes {tensor}, which" if takers else tensor


Rule = Callable[[Facts], Iterator[str]]


def called(node: onnx.NodeProto) -> str:
    """Return what a message calls `node`: its name, or what it is and makes."""
    return node.name or f"the {node.op_type} of {', '.join(node.output)}"


def settings_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes that are written down; defaults are not in it."""
    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}


def type_name(kind: int) -> str:
    """Return an element type in words: `float16`, `int8`; `of no known type` for 0."""
    words = {0: "of no known type", onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64"}
    return words.get(kind) or str(onnx.TensorProto.DataType.Name(kind)).lower()


def _has_rank(kind: onnx.TypeProto.Tensor) -> bool:
    return bool(kind.HasField("shape"))
