"""FP16: a float32 graph in half precision, written as casts. What is in the file is what every engine does.

TensorRT 11 has no precision flags, and with casts in a strongly typed network TensorRT 10 means the same. The graph
takes and gives float32 as before; which nodes compute in half, and why others do not, is `half_plan.py`'s to say. At a
border a tensor is cast once in a direction, behind the node that makes it, however many take it.

Scales of a quantisation that half can hold are rounded to it wherever they are used, so that a Q and a DQ of one
tensor agree though one of them may be in float32. Integer weights and zero points stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from kda_edge.errors import ExportError, one_line

from ..graphs.graph_view import FLOAT, FLOAT16
from .half_plan import HalfPlan, half_plan
from .half_rules import DEQUANTISE, QUANTISE, gives_half, opset_of, scale_fits_half, takes_half

SUFFIXES: Final[dict[int, str]] = {FLOAT16: "half", FLOAT: "float"}


def half_graph(model: onnx.ModelProto, *, islands: Collection[str] = ()) -> onnx.ModelProto:
    """Return `model` in half precision but for what the rules and `islands` keep in float32; equal bytes each time.

    Args:
        model: float32, with or without QuantizeLinear and DequantizeLinear; left as it is.
        islands: modules to stay float32 besides, such as `encoder.block1.0.mlp` (`graph_view.is_within`).

    Raises:
        ExportError: the graph has branches or float16 already, or no node is of an island.
    """
    return graph_from_plan(half_plan(model, islands=islands))


def graph_from_plan(plan: HalfPlan) -> onnx.ModelProto:
    """Return the graph of `plan` with its casts written.

    Raises:
        ExportError: `onnx.checker` refuses it.
    """
    writer = _Writer(plan)
    nodes = list(writer.nodes())
    written = onnx.ModelProto()
    written.CopyFrom(plan.view.model)
    for part in ("node", "initializer", "value_info"):
        written.graph.ClearField(part)
    written.graph.node.extend(nodes)
    written.graph.initializer.extend(writer.constants())
    try:
        onnx.checker.check_model(written, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"onnx.checker refuses the graph in half precision: {one_line(error)}; export it in fp32"
        ) from error
    return written


class _Writer:
    """Nodes and constants as a plan wants them; `nodes` first, which finds out what constants are needed."""

    def __init__(self, plan: HalfPlan) -> None:
        self.plan, self.view = plan, plan.view
        self.opset = opset_of(plan.view.model)
        # Constant -> the copies that are needed, by name.
        self.copies: dict[str, dict[str, NDArray[Any] | None]] = {}
        # What each tensor is made as, and the other types that are needed of it.
        self.made_as = dict(self._made_as())
        self.needed: dict[str, set[int]] = {}
        for node, position, name in self._float_inputs():
            if not self.view.is_constant(name):
                self.needed.setdefault(name, set()).add(self._type_taken(node, position))
        for name in self.view.output_names:
            self.needed.setdefault(name, set()).add(FLOAT)

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Yield the nodes in order, each followed by the casts of what it makes."""
        for name in self.view.input_names:
            yield from self._casts(name, f"/{name}")
        for index, node in enumerate(self.view.nodes):
            if node.op_type == "Constant":
                continue  # written as an initializer, in the types that it is needed in
            written = onnx.NodeProto()
            written.CopyFrom(node)
            for position, name in enumerate(node.input):
                written.input[position] = self._name_taken(index, position, name)
            for position, name in enumerate(node.output):
                if name:
                    written.output[position] = self._name_as(name, self.made_as.get(name, FLOAT))
            yield written
            for position, name in enumerate(node.output):
                suffix = f".{position}" if position else ""
                yield from self._casts(name, f"{node.name or f'/{name}'}{suffix}")

    def constants(self) -> Iterator[onnx.TensorProto]:
        """Yield what the nodes take, in the order of the file, Constant nodes behind it."""
        in_file = list(self.view.initializers)
        for name in (*in_file, *(name for name in self.copies if name not in self.view.initializers)):
            for copy, value in sorted(self.copies.get(name, {}).items()):
                if value is None:
                    yield self.view.initializers[name]
                else:
                    yield onnx.numpy_helper.from_array(value, copy)

    def _made_as(self) -> Iterator[tuple[str, int]]:
        for name in self.view.input_names:
            if self.view.is_float(name):
                yield name, FLOAT
        for index, node in enumerate(self.view.nodes):
            for position, name in enumerate(node.output):
                if self.view.is_float(name):
                    is_half = index in self.plan.in_half and gives_half(node, position, self.opset)
                    yield name, FLOAT16 if is_half else FLOAT

    def _float_inputs(self) -> Iterator[tuple[int, int, str]]:
        for index, node in enumerate(self.view.nodes):
            for position, name in enumerate(node.input):
                if self.view.is_float(name):
                    yield index, position, name

    def _type_taken(self, index: int, position: int) -> int:
        is_half = index in self.plan.in_half and takes_half(self.view.nodes[index], position, self.opset)
        return int(FLOAT16 if is_half else FLOAT)

    def _name_taken(self, index: int, position: int, name: str) -> str:
        value = self.view.constant(name) if name else None
        if value is None:
            return self._name_as(name, self._type_taken(index, position)) if self.view.is_float(name) else name
        copies = self.copies.setdefault(name, {})
        if not self.view.is_float(name):
            return self._keep(copies, name, value)
        is_scale = self.view.nodes[index].op_type in (QUANTISE, DEQUANTISE) and position == 1
        if self._type_taken(index, position) == FLOAT16:
            return self._add(copies, f"{name}.half", value.astype(np.float16))
        if is_scale and scale_fits_half(value):
            return self._add(copies, f"{name}.rounded", value.astype(np.float16).astype(np.float32))
        return self._keep(copies, name, value)

    def _keep(self, copies: dict[str, NDArray[Any] | None], name: str, value: NDArray[Any]) -> str:
        copies[name] = None if name in self.view.initializers else value
        return name

    def _add(self, copies: dict[str, NDArray[Any] | None], name: str, value: NDArray[Any]) -> str:
        copies[name] = value
        return name

    def _name_as(self, name: str, kind: int) -> str:
        """Return what a tensor is called in a type: its own name as it is made, but an answer is float32."""
        own = FLOAT if name in self.view.output_names else self.made_as.get(name, kind)
        return name if kind == own else f"{name}.{SUFFIXES[kind]}"

    def _casts(self, name: str, of: str) -> Iterator[onnx.NodeProto]:
        for kind in sorted(self.needed.get(name, set()) - {self.made_as.get(name)}):
            if name not in self.made_as:
                continue
            source = self._name_as(name, self.made_as[name])
            cast_name = f"{of}.to_{SUFFIXES[kind]}"
            yield onnx.helper.make_node("Cast", [source], [self._name_as(name, kind)], name=cast_name, to=kind)
