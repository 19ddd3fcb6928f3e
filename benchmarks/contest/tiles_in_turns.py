"""The time of a tile for several artifacts, in turns, in one process."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np

from kda_edge.errors import UsageError
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.opened_engine import OpenedEngine, open_engine

from ..measuring.interleaved import interleaved
from ..reporting.measured_on import model_facts
from ..reporting.result import Figure, Result
from ..reporting.text_tables import interval_text, publish, table_of

CALLS_A_ROUND: Final = 10  # `--rounds` is meant for whole scenes; a tile is over soon


def compare_tiles(artifacts: Sequence[Path | None], options: argparse.Namespace) -> int:
    """Time a tile of noise in each artifact; return 0.

    Raises:
        UsageError: there is one artifact alone, or two of the same name.
        KdaEdgeError: an artifact can't be opened.
    """
    if len(artifacts) < 2:
        raise UsageError("one artifact has nobody to be compared with; give another")
    names = ["bundled" if path is None else path.name for path in artifacts]
    if len(set(names)) < len(names):
        names = [str(path) for path in artifacts]
    with ExitStack() as stack:
        engines = [
            stack.enter_context(open_engine(path, engine=options.engine, allow_unverified=options.allow_unverified))
            for path in artifacts
        ]
        batch = 1 if options.batch is None else options.batch
        calls = {name: _call(engine, batch) for name, engine in zip(names, engines, strict=True)}
        rounds = interleaved(calls, rounds=options.rounds * CALLS_A_ROUND)
        mpx = {name: batch * e.manifest.tile_px**2 / 1e6 for name, e in zip(names, engines, strict=True)}
        engine_names = [engine.name for engine in engines]
    figures, rows = [], []
    for name in rounds.names:
        times, of = rounds.percentiles(name), {"artifact": name, "batch": batch}
        figures.append(Figure.from_interval("latency.p50", times.p50, "ms", "lower", of))
        figures.append(Figure.from_interval("latency.p99", times.p99, "ms", "lower", of))
        figures.append(Figure.from_interval("throughput", times.p50.inverse(1e3 * mpx[name]), "Mpx/s", "higher", of))
        ratio = rounds.ratio(name, names[0])
        if name != names[0]:
            figures.append(Figure.from_interval("ratio", ratio, "", "lower", {"of": name, "to": names[0]}))
        rows.append((name, interval_text(times.p50), interval_text(times.p99), interval_text(ratio, 3)))
    result = Result(
        benchmark="compare",
        settings={
            "rounds": len(rounds.times_ms),
            "batch": batch,
            "engines": dict(zip(names, engine_names, strict=True)),
        },
        figures=figures,
        models=[model_facts(read_artifact(path, allow_unverified=options.allow_unverified)) for path in artifacts],
        series={f"latency.{name}": [float(ms) for ms in rounds.of(name)] for name in rounds.names},
    )
    header = ("artifact", f"p50 of {batch} tile(s), ms", "p99, ms", f"over {names[0]}")
    publish(result, table_of(header, rows), json_to=options.json)
    return 0


def _call(engine: OpenedEngine, batch: int) -> Callable[[], object]:
    tile_px = engine.manifest.tile_px
    low, high = engine.manifest.input.value_range
    tiles = np.random.default_rng(0).uniform(low, high, (batch, 3, tile_px, tile_px)).astype(np.float32)
    return lambda: engine(tiles)
