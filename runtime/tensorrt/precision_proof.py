"""Proof of an engine's real precision: what its layers compute in, counted from the engine inspector's JSON.

The JSON is an object whose "Layers" are names alone, or, of an engine built with detailed verbosity, objects: "Name",
"LayerType" ("CaskConvolution", "gemm", "kgen", "Reformat", "Myelin"), "ParameterType", "TacticName", "Weights" with
its "Type", and "Inputs" and "Outputs". A tensor tells its type in "Format/Datatype", as a word ("Half") or inside a
description ("Channel major FP16 format where channel % 8 == 0"). TensorRT 11 splits that into a field for the format
and one for the data type. An engine of any batch tells "N/A due to dynamic shapes" until the inspector is given a
context with shapes, and then still the type of the weights and the kernel's name.

Sources: NVIDIA/TensorRT, tools/experimental/trt-engine-explorer (trex/parser.py, trex/layer.py, trex/activations.py,
and the recorded engines beside its tests); the TensorRT guide, "Engine Inspector" and, for 11, "Migrating
IEngineInspector Usage from TensorRT 10.x to 11.x". Of engines of this project: not measured.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from kda_edge.errors import PrecisionLost

Precision = Literal["fp32", "fp16", "int8"]
KINDS: Final = (
    ("int8", re.compile(r"\bint8\b", re.IGNORECASE)),
    ("half", re.compile(r"\b(?:fp16|half)\b", re.IGNORECASE)),
    ("float32", re.compile(r"\b(?:fp32|float)\b", re.IGNORECASE)),
    ("other", re.compile(r"\b(?:bf16|bfloat16|fp8|fp4)\b", re.IGNORECASE)),
)
# Layers that multiply; `Convert` is a cast, and attention kernels are called mha.
COMPUTES: Final = re.compile(r"conv(?!ert)|gemm|matmul|matrixmultiply|correlation|mha", re.IGNORECASE)
REGION: Final = re.compile(r"myelin|foreignnode", re.IGNORECASE)  # many layers as one, of which the edges alone show
TACTICS: Final = (  # what a kernel's name tells of its factors
    ("int8", re.compile(r"i8i8|i8i32|i8816|int8|imma", re.IGNORECASE)),
    ("half", re.compile(r"f16f16|h16816|fp16|hmma", re.IGNORECASE)),
    ("float32", re.compile(r"f32f32|sgemm|tf32", re.IGNORECASE)),
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerCounts:
    """How many compute layers of an engine work in which precision.

    Attributes:
        int8, half, float32, other: compute layers by precision; bfloat16 and 8-bit floats are `other`.
        untyped: compute layers, or layers known by name alone, of which the engine does not tell.
        quantised: of the graph, the convolutions and matrix products that take dequantised values.
    """

    int8: int = 0
    half: int = 0
    float32: int = 0
    other: int = 0
    untyped: int = 0
    quantised: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 0:
                raise ValueError(f"{field.name} is a count, not {value!r}")

    def __str__(self) -> str:
        """Name what was counted, for a log and for messages."""
        return (
            f"{self.int8} INT8, {self.half} half, {self.float32} float, {self.other} other, {self.untyped} untold; "
            f"{self.quantised} quantised nodes in the graph"
        )


def layer_counts(information: str, *, quantised: int = 0) -> LayerCounts:
    """Count an engine's compute layers by precision.

    A layer's precision is that of its first input that is a number of ours: what it multiplies. A region of many
    layers counts by the lowest precision at its edges; where these are all 32-bit, it is untold what goes on inside.

    Args:
        information: the inspector's JSON of the whole engine.
        quantised: convolutions and matrix products of the graph that take dequantised values.
    """
    try:
        # Names hold separators (0x1E, 0x1F) that strict JSON forbids.
        content = json.loads(information, strict=False)
        layers = content["Layers"]
        if not isinstance(layers, list):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        _log.warning("the engine inspector's answer can't be read, so the precision of the layers is unknown")
        return LayerCounts(quantised=quantised)
    found = {"int8": 0, "half": 0, "float32": 0, "other": 0, "untyped": 0}
    for entry in layers:
        if isinstance(entry, Mapping):
            kind = _kind_of(entry)
            if kind is not None:
                found[kind] += 1
        else:
            found["untyped"] += 1
    counts = LayerCounts(**found, quantised=quantised)
    _log.info("the engine's compute layers: %s", counts)
    return counts


def inspect_engine(trt: Any, engine: Any, *, quantised: int = 0) -> LayerCounts:
    """Count the compute layers of a deserialised engine by precision; see `layer_counts`.

    For the time of the call it takes the memory of an execution context; where that can't be had, less is told.
    """
    inspector = engine.create_engine_inspector()
    context = engine.create_execution_context()
    if context is not None and _shapes_are_set(trt, engine, context):
        inspector.execution_context = context
    return layer_counts(inspector.get_engine_information(trt.LayerInformationFormat.JSON), quantised=quantised)


def _shapes_are_set(trt: Any, engine: Any, context: Any) -> bool:
    """Give each input the shape that the engine is tuned for."""
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            _, opt, _ = engine.get_tensor_profile_shape(name, 0)
            if not context.set_input_shape(name, tuple(opt)):
                return False
    return True


def require_precision(counts: LayerCounts, asked: Precision) -> None:
    """Make sure that an engine mostly computes in the precision that was asked for.

    The rule, over compute layers of which the engine tells: FP32 needs more 32-bit layers than others, FP16 more half
    than 32-bit ones, INT8 one INT8 layer for each two quantised nodes of the graph (fusion makes one of several). An
    engine that tells nothing is let pass with a line in the log.

    Raises:
        PrecisionLost: it does not.
    """
    told = counts.int8 + counts.half + counts.float32 + counts.other
    if told == 0:
        _log.warning("the engine does not tell what its layers compute in; that it is %s is not checked", asked)
        return
    if asked == "fp32":
        held, rest = counts.float32 > told - counts.float32, "the graph holds casts to a lower precision"
    elif asked == "fp16":
        held, rest = counts.half > counts.float32, "the graph holds too few casts to float16"
    elif counts.quantised == 0:
        held, rest = False, "the graph quantises nothing"
    else:
        held, rest = 2 * counts.int8 >= counts.quantised, "TensorRT has dropped the quantisation of most"
    if not held:
        raise PrecisionLost(
            f"the engine was asked to be {asked} and is not ({counts}): {rest}; export the model again, or use another "
            "precision"
        )


def _kind_of(entry: Mapping[str, Any]) -> str | None:
    """Return the precision that a layer computes in; None: it computes nothing."""
    layer_type = str(entry.get("LayerType", ""))
    what = f"{layer_type} {entry.get('ParameterType', '')} {entry.get('TacticName', '')}"
    tensors = [*_types(entry.get("Inputs")), *_types(entry.get("Outputs"))]
    if REGION.search(layer_type):
        return next((kind for kind in ("int8", "half", "other") if kind in tensors), "untyped")
    if not COMPUTES.search(what):
        return None
    weights = entry.get("Weights")
    weights_type = _first(KINDS, str(weights.get("Type", ""))) if isinstance(weights, Mapping) else None
    kernel_type = _first(TACTICS, str(entry.get("TacticName", "")))
    if "int8" in (weights_type, kernel_type):
        return "int8"
    return next(filter(None, (*tensors[:1], weights_type, kernel_type)), "untyped")


def _types(tensors: object) -> Iterator[str]:
    """Yield the precision of each tensor that has one of ours; shapes, indices and masks have none."""
    for described in tensors if isinstance(tensors, list) else []:
        if isinstance(described, Mapping):
            told = [str(value) for name, value in described.items() if "datatype" in name.lower()]
            kind = _first(KINDS, " ".join(told or [str(described.get("Format", ""))]))
            if kind is not None:
                yield kind


def _first(patterns: Sequence[tuple[str, re.Pattern[str]]], description: str) -> str | None:
    return next((kind for kind, pattern in patterns if pattern.search(description)), None)
