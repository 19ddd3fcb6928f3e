"""`kda-bench latency` on a TensorRT engine, its device simulated: three phases instead of one."""

from __future__ import annotations

from typing import Any

import pytest
from fake_time import small_manifest
from gpu_bench import KINDS, Bench

from kda_edge.benchmarks.commands.latency import LatencyConfig, latency, measure_batches
from kda_edge.benchmarks.commands.latency_figures import latency_table
from kda_edge.benchmarks.measuring.timing import TimingPlan
from kda_edge.runtime.opened_engine import OpenedEngine
from kda_edge.runtime.tensorrt.tensorrt_engine import TensorRTEngine
from kda_edge.tiling.tile_answers import EngineFacts

PLAN = TimingPlan(min_calls=3, warm_up_limit_s=0.1, limit_s=0.3)
PHASES_MS = {"phase.copy_in": 2.0, "phase.compute": 7.0, "phase.copy_out": 0.5}


def engine_on(bench: Bench, **facts: Any) -> TensorRTEngine:
    bench.gpu.copy_in_ms, bench.gpu.copy_out_ms = PHASES_MS["phase.copy_in"], PHASES_MS["phase.copy_out"]
    runner = bench.runner(tile_px=32, cost_ms=PHASES_MS["phase.compute"], **facts)
    return TensorRTEngine(runner, small_manifest(), notes=(), from_cache=True, build_s=1.0)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_the_table_has_what_the_copies_and_the_computing_took(kind: tuple[str, str]) -> None:
    bench = Bench(*kind)

    def open_model(model: Any, *, engine: str, allow_unverified: bool) -> OpenedEngine:
        runs = engine_on(bench)
        return OpenedEngine(runs, EngineFacts(name=engine, max_batch=runs.max_batch), timed=runs.timed)

    result = latency(LatencyConfig(engine="tensorrt", batches=(1, 2), plan=PLAN), open_model=open_model)
    for batch in (1, 2):
        told = {f.name: f.value for f in result.figures if f.name.startswith("phase.") and f.of["batch"] == batch}
        assert told.pop("phase.prepare") > 0
        assert told == pytest.approx(PHASES_MS)
    header, _, row, *_ = latency_table(result).splitlines()[2:]
    names = [name.strip() for name in header.split("|")]
    at = names.index("copy_in ms")
    assert names[at - 1 : at + 3] == ["prepare ms", "copy_in ms", "compute ms", "copy_out ms"]
    assert [float(cell) for cell in row.split("|")[at : at + 3]] == list(PHASES_MS.values())
    bench.gpu.require_clean()


def test_a_batch_that_the_engine_splits_is_called_as_a_whole_since_its_parts_overlap() -> None:
    bench = Bench()
    config = LatencyConfig(engine="tensorrt", batches=(1, 2), plan=PLAN)
    with engine_on(bench, batches=[1, 1, 1]) as engine:
        runs = measure_batches(engine, small_manifest(), config, max_batch=engine.max_batch, timed=engine.timed)
    assert set(runs[1].timing.phases_ms) == {"prepare", "copy_in", "compute", "copy_out"}
    assert set(runs[2].timing.phases_ms) == {"prepare", "engine"}
    bench.gpu.require_clean()
