"""An index of a graph: who makes a tensor, who takes it, its type and shape, and the module that a node is from.

Made once for a graph that is then read, not changed; a pass that writes a new graph asks the view of the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from kda_edge.errors import ExportError, one_line

FLOAT: Final = onnx.TensorProto.FLOAT
FLOAT16: Final = onnx.TensorProto.FLOAT16
UNKNOWN: Final = onnx.TensorProto.UNDEFINED

Dim = int | str | None


@dataclass(frozen=True)
class GraphView:
    """A straight graph (no branch, no loop), indexed; nodes are known by their position, as they may lack names.

    Attributes:
        model: the graph that was read; a change of it is not seen.
        nodes: in the order of the file, which is an order of execution.
        producers: tensor -> position of the node that makes it; inputs and initializers are not in it.
        consumers: tensor -> positions of the nodes that take it, ascending, each once.
        initializers: constants by name.
        types: tensor -> element type as in `onnx.TensorProto`; what can't be inferred is not in it.
        shapes: tensor -> dims: a number, the name of a symbol, or None where unknown; not in it where the rank is.
    """

    model: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]
    producers: Mapping[str, int]
    consumers: Mapping[str, tuple[int, ...]]
    initializers: Mapping[str, onnx.TensorProto]
    types: Mapping[str, int]
    shapes: Mapping[str, tuple[Dim, ...]]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> GraphView:
        """Index `model`, types and shapes inferred by `onnx.shape_inference`.

        Raises:
            ExportError: a node holds a graph of its own (If, Loop, Scan), or the types contradict one another.
        """
        for node in model.graph.node:
            if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
                raise ExportError(f"{node.name or node.op_type} holds a graph of its own; export a straight graph")
        try:
            inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
        except onnx.shape_inference.InferenceError as error:
            raise ExportError(
                f"the types of the graph contradict one another: {one_line(error)}; export it again"
            ) from error
        nodes = tuple(model.graph.node)
        consumers: dict[str, list[int]] = {}
        for index, node in enumerate(nodes):
            for name in dict.fromkeys(node.input):
                if name:
                    consumers.setdefault(name, []).append(index)
        values = [*inferred.input, *inferred.value_info, *inferred.output]
        initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        shaped = [value for value in values if value.type.tensor_type.HasField("shape")]
        return cls(
            model=model,
            nodes=nodes,
            producers={name: index for index, node in enumerate(nodes) for name in node.output if name},
            consumers={name: tuple(takers) for name, takers in consumers.items()},
            initializers=initializers,
            types={value.name: value.type.tensor_type.elem_type for value in values}
            | {name: tensor.data_type for name, tensor in initializers.items()},
            shapes={value.name: _dims(value.type.tensor_type.shape) for value in shaped}
            | {name: tuple(tensor.dims) for name, tensor in initializers.items()},
        )

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the graph is given, initializers that are listed as inputs left out."""
        return tuple(value.name for value in self.model.graph.input if value.name not in self.initializers)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the graph answers with."""
        return tuple(value.name for value in self.model.graph.output)

    def producer_of(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that makes `tensor`, or None for an input or a constant."""
        index = self.producers.get(tensor)
        return None if index is None else self.nodes[index]

    def consumers_of(self, tensor: str) -> tuple[onnx.NodeProto, ...]:
        """Return the nodes that take `tensor`, each once, in order."""
        return tuple(self.nodes[index] for index in self.consumers.get(tensor, ()))

    def type_of(self, tensor: str) -> int:
        """Return the element type of `tensor`, `UNKNOWN` where it can't be inferred."""
        return self.types.get(tensor, UNKNOWN)

    def is_float(self, tensor: str) -> bool:
        """Whether `tensor` is float32; "", an input that is left out, is not."""
        return self.types.get(tensor) == FLOAT

    def is_constant(self, tensor: str) -> bool:
        """Whether `tensor` is an initializer or comes from a Constant node."""
        node = self.producer_of(tensor)
        return tensor in self.initializers or (node is not None and node.op_type == "Constant")

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of an initializer or a Constant node, or None."""
        if tensor in self.initializers:
            return onnx.numpy_helper.to_array(self.initializers[tensor])
        node = self.producer_of(tensor)
        if node is not None and node.op_type == "Constant":
            value = onnx.helper.get_attribute_value(node.attribute[0])
            return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
        return None

    def before(self, index: int) -> Iterator[int]:
        """Yield the positions of the nodes whose outputs node `index` takes, in the order of its inputs, each once."""
        yield from dict.fromkeys(self.producers[name] for name in self.nodes[index].input if name in self.producers)

    def after(self, index: int) -> Iterator[int]:
        """Yield the positions of the nodes that take an output of node `index`, each once."""
        outputs = self.nodes[index].output
        yield from dict.fromkeys(taker for name in outputs for taker in self.consumers.get(name, ()))

    def reached(
        self, starts: Iterable[int], step: Callable[[int], Iterable[int]], through: Callable[[int], bool]
    ) -> set[int]:
        """Return the nodes of `starts` and all that `step` (`before`, `after`) leads to from them and from each other.

        A node that `through` says no to is reached and not stepped from; `starts` are always stepped from.
        """
        found: set[int] = set()
        waiting = list(starts)
        first = set(waiting)
        while waiting:
            index = waiting.pop()
            if index in found:
                continue
            found.add(index)
            if index in first or through(index):
                waiting.extend(step(index))
        return found


def module_of(node: onnx.NodeProto) -> str:
    """Return the module that `node` is from: its name before the last "/"; "" for the outermost or without one."""
    return node.name.rpartition("/")[0]


def is_within(node: onnx.NodeProto, group: str) -> bool:
    """Whether `node` is of `group`.

    `encoder.block1.0.mlp` is that module and all below it; `decoder/`, with a slash at its end, the nodes that are
    directly of the module `decoder`, without those of the modules below it.
    """
    if group.endswith("/"):
        return module_of(node) == group[:-1]
    module = module_of(node)
    return module == group or module.startswith(f"{group}.")


def _dims(shape: onnx.TensorShapeProto) -> tuple[Dim, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None)  # an empty symbol is unknown
        for dim in shape.dim
    )
