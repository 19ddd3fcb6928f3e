"""What NVIDIA's compiler makes of a graph, without a GPU: TensorRT for RTX builds ahead of time for an architecture.

It proves that a graph parses and compiles for that architecture, how GridSample was understood, and which types each
compiled layer takes and gives. It proves nothing of speed, of the numbers that an engine answers with, of Orin (sm_87
is no target of it), of DLA, or of what the parser of TensorRT 10.3 takes, which is another one.

The compiler runs in a process of its own: its bindings have one logger a process and can crash without a driver. A
run of this file is that process: `python rtx.py graph.onnx SM86 answer.json`.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

PACKAGE = "tensorrt_rtx"
WHEEL = "tensorrt-rtx-cu13==1.7.1.116"
TIMEOUT_S = 900
NO_KERNEL = ("signal", "wait", "shape_call", "memcpy")  # kinds of layers that compute nothing
LINE = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: ")
OUTPUTS = re.compile(r"Outputs: \[(.*?)\], TacticName")
DATATYPE = re.compile(r"Datatype: (\w+)")
SOURCE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


@dataclass(frozen=True)
class Kernel:
    """A layer as it was compiled.

    Attributes:
        kind: what the compiler calls it: gemm, correlation, kgen, runtime_fusion.
        takes: types of its inputs, constants left out: Float, Half, Int8.
        gives: types of its outputs.
        nodes: names of the ONNX nodes that it computes, as far as the compiler says.
    """

    kind: str
    takes: frozenset[str]
    gives: frozenset[str]
    nodes: frozenset[str]


@dataclass(frozen=True)
class Compiled:
    """What came of a graph.

    Attributes:
        errors: of the parser or the builder; a graph that either refuses has one or more.
        interpolation: GridSample node -> how it was understood: LINEAR, NEAREST.
        kernels: the compiled layers that compute something; none if the graph was refused.
        engine_bytes: size of the engine; 0: there is none.
    """

    errors: tuple[str, ...]
    interpolation: dict[str, str]
    kernels: tuple[Kernel, ...]
    engine_bytes: int

    def taking(self, datatype: str) -> list[Kernel]:
        """Return the kernels that take this type, with others perhaps."""
        return [kernel for kernel in self.kernels if datatype in kernel.takes]

    def nodes_in(self, datatype: str) -> set[str]:
        """Return the ONNX nodes that were compiled into kernels that take this type."""
        return {node for kernel in self.taking(datatype) for node in kernel.nodes}


def unavailable() -> str:
    """Return why nothing can be compiled here; empty: it can. Asks another process, as `compiled` does."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {PACKAGE}"], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or [f"import ended with {done.returncode}"])[-1]
    return f"NOTHING was compiled by NVIDIA's compiler: {last}; pip install {WHEEL}"


def compiled(model: onnx.ModelProto, architecture: str, folder: Path) -> Compiled:
    """Compile `model` for `architecture` (SM86, SM89) in another process; `folder` takes the files of it.

    Raises:
        RuntimeError: the process ended without an answer.
    """
    graph, answer = folder / "graph.onnx", folder / "answer.json"
    onnx.save(model, graph)
    answer.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, __file__, str(graph), architecture, str(answer)],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode or not answer.exists():
        raise RuntimeError(f"the compiler's process ended with {done.returncode}: {done.stderr[-2000:]}")
    said = json.loads(answer.read_text())
    kernels = tuple(kernel for line in said["layers"] for kernel in _kernels(line))
    return Compiled(tuple(said["errors"]), said["interpolation"], kernels, said["engine_bytes"])


def _kernels(line: str) -> Iterator[Kernel]:
    match, outputs = LINE.match(line), OUTPUTS.search(line)
    if match is None or outputs is None:
        raise RuntimeError(f"the compiler writes its layers in another way now: {line[:200]}")
    if match["kind"] not in NO_KERNEL:
        yield Kernel(
            match["kind"],
            frozenset(DATATYPE.findall(match["inputs"])),
            frozenset(DATATYPE.findall(outputs[1])),
            frozenset(SOURCE.findall(line)),
        )


def _compile(graph: str, architecture: str) -> dict[str, Any]:
    """Parse and build; runs in the process of its own."""
    trt: Any = importlib.import_module(PACKAGE)
    layers: list[str] = []
    complaints: list[str] = []

    class Listener(trt.ILogger):  # type: ignore[misc]  # a base without types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                complaints.append(text)
            layers.extend(part for part in text.splitlines() if part.startswith("Name: ") and ", LayerType: " in part)

    logger = Listener()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(graph):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        return {"errors": errors or ["refused without a word"], "interpolation": {}, "layers": [], "engine_bytes": 0}
    interpolation = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.GRID_SAMPLE:
            layer.__class__ = trt.IGridSampleLayer
            interpolation[layer.name] = layer.interpolation_mode.name
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, architecture), 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for index in range(network.num_inputs):
        image = network.get_input(index)
        if image.shape[0] == -1:
            profile, rest = builder.create_optimization_profile(), tuple(image.shape)[1:]
            profile.set_shape(image.name, (1, *rest), (1, *rest), (4, *rest))
            config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    return {
        "errors": (complaints or ["no engine, without a word"]) if engine is None else [],
        "interpolation": interpolation,
        "layers": layers,
        "engine_bytes": 0 if engine is None else engine.nbytes,
    }


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(_compile(sys.argv[1], sys.argv[2])))
