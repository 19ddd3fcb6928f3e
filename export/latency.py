"""Two graphs timed side by side on the CPU engine that ships: A B A B, so that a busy hour slows both alike."""

from __future__ import annotations

import time
from collections.abc import Callable

import onnx
import onnxruntime as ort

from kda_edge.certificate import Latency
from kda_edge.machine import machine_facts
from kda_edge.predict import Engine
from kda_edge.runtime.precision_choice import ROUNDS, side_by_side

from .engines import engine_from_graph
from .tiles import Tile


def latency_on_cpu(
    graph: onnx.ModelProto,
    other: onnx.ModelProto,
    other_precision: str,
    tile: Tile,
    *,
    log: Callable[[str], None],
    to_engine: Callable[[onnx.ModelProto], Engine] = engine_from_graph,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Return the medians of both graphs on one tile, in turns.

    Args:
        graph: whose latency it is.
        other: what it is compared with.
        other_precision: of the other.
        tile: that both are given, one at a time.
        log: told that this takes a while.
        to_engine: opens a graph.
        clock: in seconds.

    Raises:
        ExportError: ONNX Runtime refuses a graph.
    """
    log(f"timing against {other_precision}: {ROUNDS} runs of each in turns; keep the machine quiet")
    p50_ms, other_p50_ms = side_by_side(to_engine(graph), to_engine(other), tile.pixels[None], clock=clock)
    facts = machine_facts(())
    return Latency(
        engine=f"ONNX Runtime {ort.__version__}, CPU",
        processor=f"{facts['cores']} cores of {facts['processor']} ({facts['instructions']})",
        rounds=ROUNDS,
        p50_ms=p50_ms,
        other_precision=other_precision,
        other_p50_ms=other_p50_ms,
    )
