"""A GELU in another order of steps: the same bits, and one kernel in ONNX Runtime."""

from __future__ import annotations

import collections
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx_graphs import parsed

from kda_edge.export.graphs.gelu import with_known_gelu
from kda_edge.export.graphs.to_onnx import ExportedGraph

BODY = """
# encoder.mlp
scaled = Div(x, root)
erf = Erf(scaled)
gate = Add({gate})
halved = Mul({halved})
made = Mul({made})
"""
USUAL = {"gate": "erf, one", "halved": "half, gate", "made": "x, halved"}


def gelu_graph(kind: type = np.float32, *, made: str = "[n] made", one: float = 1.0, **order: str) -> onnx.ModelProto:
    name = {np.float32: "float", np.float16: "float16"}[kind]
    constants = {"root": kind(math.sqrt(2.0)), "one": kind(one), "half": kind(0.5)}
    body = BODY.format(**(USUAL | order))
    outputs = ", ".join(f"{name}{output}" for output in made.split("; "))
    return parsed(body, given=f"{name}[n] x", made=outputs, constants=constants)


def session(graph: onnx.ModelProto, **settings: Any) -> ort.InferenceSession:
    options = ort.SessionOptions()
    for key, value in settings.items():
        setattr(options, key, value)
    return ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def unfused(graph: onnx.ModelProto, x: NDArray[Any]) -> NDArray[Any]:
    level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return np.asarray(session(graph, graph_optimization_level=level).run(None, {"x": x})[0])


def fused_operators(graph: onnx.ModelProto, folder: Path) -> collections.Counter[str]:
    session(graph, optimized_model_filepath=str(folder / "fused.onnx"), log_severity_level=4)  # 4: it warns of the file
    return collections.Counter(node.op_type for node in onnx.load(folder / "fused.onnx").graph.node)


@pytest.mark.parametrize("halved", ["half, gate", "gate, half"])
@pytest.mark.parametrize("gate", ["erf, one", "one, erf"])
@pytest.mark.parametrize("made", ["x, halved", "halved, x"])
def test_the_other_order_gives_the_same_bits_of_every_kind_of_float(gate: str, halved: str, made: str) -> None:
    graph = gelu_graph(gate=gate, halved=halved)
    graph.graph.node[-1].input[:] = made.split(", ")
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, np.uint32)
    usual = np.random.default_rng(1).normal(0, 3, 100_000).astype(np.float32)
    x = np.concatenate([bits.view(np.float32), usual])
    x = x[np.isfinite(x)]
    other = with_known_gelu(graph)
    onnx.checker.check_model(other, full_check=True)
    assert [list(node.input) for node in other.graph.node[-2:]] == [["x", "half"], ["halved", "gate"]]
    assert unfused(graph, x).tobytes() == unfused(other, x).tobytes()


def test_every_half_gives_the_same_bits_too() -> None:
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]
    erf = np.array([math.erf(value / math.sqrt(2.0)) for value in x.astype(np.float64)])
    gate = (np.float16(1) + erf.astype(np.float16)).astype(np.float16)
    expected = x * (np.float16(0.5) * gate)
    np.testing.assert_array_equal((x * np.float16(0.5)) * gate, expected)
    assert np.isfinite(expected).all()  # 65504 included, which x (1 + erf) would double


def test_onnx_runtime_fuses_the_other_order_alone(tmp_path: Path) -> None:
    graph = gelu_graph()
    assert not any("Gelu" in name for name in fused_operators(graph, tmp_path))
    assert fused_operators(with_known_gelu(graph), tmp_path) == {"Gelu": 1}


def test_an_exported_student_has_every_gelu_fused_and_nothing_else_changes(
    graph: ExportedGraph, tmp_path: Path
) -> None:
    blocks = 8
    operators = fused_operators(graph.model, tmp_path)
    assert operators["Gelu"] + operators["BiasGelu"] >= blocks
    assert operators["Erf"] == 0
    assert with_known_gelu(graph.model) == graph.model  # once is enough


@pytest.mark.parametrize(
    "change",
    [
        {"one": 1.5},
        {"made": "[n] made; [n] halved"},
        {"gate": "scaled, one"},
        {"made": "[n] made", "halved": "gate, gate"},
    ],
    ids=["another constant", "a tensor in between is an answer", "no erf", "no half"],
)
def test_what_only_looks_like_a_gelu_stays(change: dict[str, Any]) -> None:
    graph = gelu_graph(**change)
    assert with_known_gelu(graph) == graph
