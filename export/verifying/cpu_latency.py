"""Latency of two graphs on the CPU's engines, timed A B A B, so that a busy hour slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import onnx

from kda_edge.certificate import Latency
from kda_edge.machine import machine_facts
from kda_edge.runtime.engines.in_turns import ROUNDS, as_used, in_turns, most_tiles
from kda_edge.tiling.certificate_tiles import Tile

from .compared_engines import ToBatchedEngine


def latency_on_cpu(
    graph: onnx.ModelProto,
    other: onnx.ModelProto,
    other_precision: str,
    tile: Tile,
    *,
    log: Callable[[str], None],
    engines: Mapping[str, ToBatchedEngine],
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Return the medians of both graphs, a tile, in turns, each on the engine that is the fastest for it.

    `kda-infer` takes the faster engine for any model, so that INT8 has to beat the other graph at its best; each engine
    is given as many tiles a call as `kda-infer` gives it.

    Args:
        graph: whose latency it is.
        other: what it is compared with.
        other_precision: of the other.
        tile: that both are given, over and over.
        log: told that this takes a while.
        engines: what opens a graph, by the engine's name.
        clock: in seconds.

    Raises:
        ExportError: an engine refuses a graph.
    """
    log(f"timing against {other_precision}: {ROUNDS} runs of each in turns; keep the machine quiet")
    runs = [to_engine(model) for to_engine in engines.values() for model in (graph, other)]
    count = most_tiles(runs)
    tiles = np.repeat(tile.pixels[None], count, axis=0)
    times_ms = [ms / count for ms in in_turns([as_used(run) for run in runs], tiles, clock=clock)]
    p50_ms, engine = min(zip(times_ms[0::2], engines, strict=True))
    other_p50_ms, other_engine = min(zip(times_ms[1::2], engines, strict=True))
    facts = machine_facts(())
    return Latency(
        engine=engine if engine == other_engine else f"{engine} ({other_precision}: {other_engine})",
        processor=f"{facts['cores']} cores of {facts['processor']} ({facts['instructions']})",
        rounds=ROUNDS,
        p50_ms=p50_ms,
        other_precision=other_precision,
        other_p50_ms=other_p50_ms,
    )
