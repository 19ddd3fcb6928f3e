"""How far a model is from the limits of the machine it runs on; and, as estimates, the limits of devices elsewhere.

The machine's own peaks are measured: arithmetic by a product of two large matrices in ONNX Runtime, with the threads
that the model gets; bandwidth by copies of more memory than caches hold. Then the model is timed. For the devices of
the profiles, no call can be faster than their published peaks allow: that bound is an estimate, named so, and no
latency of such a device. Nothing here has run on them.

Example: kda-bench roofline student.onnx --plots plots
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from kda_edge.errors import MissingDependency
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.engine_names import GPU_ENGINES
from kda_edge.runtime.engines.in_turns import example_tiles
from kda_edge.runtime.engines.onnxruntime_engine import session_options
from kda_edge.runtime.opened_engine import OpenedEngine, open_engine

from ..measuring.operation_counts import Work, work_of
from ..measuring.percentiles import percentiles_of
from ..measuring.timing import Timing, TimingPlan, measured
from ..reporting import plots
from ..reporting.measured_on import engine_parity, machine, model_facts
from ..reporting.result import Estimate, Figure, Result
from ..reporting.text_tables import add_json_option, number_text, publish, require_json_path, table_of
from ..sensors.conditions import conditions
from .device_profiles import DeviceProfile, profile_names, read_profile
from .options import add_engine_options, positive_number

GEMM_SIDE: Final = 2048  # 48 MB in three matrices: beyond caches, and long enough that starting threads is nothing
COPY_BYTES: Final = 256_000_000
REPEATS: Final = 5  # the best counts: a peak is what the machine can do, not what it did while disturbed


@dataclass(frozen=True)
class Peaks:
    """What a machine was measured to reach.

    Attributes:
        gflops: of the product of two float32 matrices.
        bandwidth_gb_s: read and written by a copy.
    """

    gflops: float
    bandwidth_gb_s: float

    def least_ms(self, work: Work) -> float:
        """Return the time below which one call can't be, by these peaks."""
        return 1e3 * max(work.flops / (self.gflops * 1e9), work.least_bytes / (self.bandwidth_gb_s * 1e9))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `kda-bench roofline` takes."""
    add_engine_options(parser)
    add = parser.add_argument
    add("--device", choices=profile_names(), help="this machine's profile: shares of its published peaks are shown too")
    add("--limit", type=positive_number, default=20.0, metavar="S", help="seconds for timing the model (default: 20)")
    add("--plots", type=Path, metavar="DIR", help="write roofline.png there")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, print and write what was asked for."""
    require_json_path(options.json)
    if options.plots is not None:
        plots.require_matplotlib()
    artifact = read_artifact(options.model, allow_unverified=options.allow_unverified)
    work = work_of(artifact.path)
    profile = None if options.device is None else read_profile(options.device)
    plan = TimingPlan(min_calls=30, warm_up_limit_s=options.limit / 3, limit_s=options.limit)
    with open_engine(options.model, engine=options.engine, allow_unverified=options.allow_unverified) as engine:
        batch = engine.facts.batch  # as in a scene
        timing = timed(engine, batch, plan)
        on_cpu = engine.name not in GPU_ENGINES
        peaks = measured_peaks(int(machine()["cores"])) if on_cpu else None
        figures = figures_of(
            work, timing, engine.name, engine.manifest.precision, batch=batch, peaks=peaks, profile=profile
        )
        notes = list(engine.notes)
        if on_cpu and engine.name != "cpu":
            notes.append("the machine's arithmetic is that of ONNX Runtime in float32; another engine may pass it")
        if not on_cpu:
            notes.append("the peaks of a GPU are not measured; give its profile with --device to see a share of them")
        if work.least_bytes < plots.CACHED_BYTES and on_cpu:
            notes.append("weights and tile fit into the caches of many processors: bandwidth is then no limit")
        result = Result(
            benchmark="roofline",
            settings={"engine": options.engine, "engine_used": engine.name, "device": options.device, "batch": batch},
            figures=figures,
            models=[model_facts(artifact)],
            conditions={**conditions(engine.name), **engine_parity(engine.facts)},
            estimates=estimates_of(work, engine.manifest.precision),
            notes=notes,
            steady=timing.is_steady,
        )
    if options.plots is not None:
        plots.write_roofline(result, options.plots)
    publish(result, roofline_table(result), json_to=options.json)
    return 0


def timed(engine: OpenedEngine, batch: int, plan: TimingPlan) -> Timing:
    """Time the engine alone; samples are ms a tile."""
    tiles = example_tiles(engine.manifest, batch)

    def call() -> None:
        engine(tiles)

    timing = measured(call, plan)
    return replace(timing, samples_ms=timing.samples_ms / batch)


def measured_peaks(cores: int, *, clock: Callable[[], float] = time.perf_counter) -> Peaks:
    """Measure this machine's float32 arithmetic and its bandwidth, on as many cores as the process may use.

    Raises:
        MissingDependency: onnx is not installed.
    """
    session = _gemm_session()
    rng = np.random.default_rng(0)
    feed = {name: rng.random((GEMM_SIDE, GEMM_SIDE), np.float32) for name in ("a", "b")}
    gemm_s = best_s(lambda: session.run(None, feed), clock=clock)
    source = np.ones(COPY_BYTES // 2 // 8)
    target = np.zeros_like(source)  # written once: its pages exist
    parts = list(zip(np.array_split(source, cores), np.array_split(target, cores), strict=True))
    with ThreadPoolExecutor(cores) as pool:
        copy_s = best_s(lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts)), clock=clock)
    return Peaks(2 * GEMM_SIDE**3 / gemm_s / 1e9, 2 * source.nbytes / copy_s / 1e9)


def best_s(call: Callable[[], object], *, clock: Callable[[], float], repeats: int = REPEATS) -> float:
    """Return the shortest of several calls, seconds; one before them does not count."""
    call()
    taken = []
    for _ in range(repeats):
        start = clock()
        call()
        taken.append(clock() - start)
    return min(taken)


def figures_of(
    work: Work,
    timing: Timing,
    engine: str,
    precision: str,
    *,
    batch: int = 1,
    peaks: Peaks | None,
    profile: DeviceProfile | None,
) -> list[Figure]:
    """Return what was measured, and which share of each limit it is."""
    of: dict[str, str | int] = {"engine": engine, "batch": batch}
    noise = timing.stability.spread
    p50 = percentiles_of(timing.samples_ms).p50
    reached = p50.inverse(work.flops / 1e6)  # ms to GFLOP/s
    figures = [
        Figure("work.gflop", work.flops / 1e9, "GFLOP", "neither", of),
        Figure("work.least_bytes", work.least_bytes / 1e6, "MB", "neither", of),
        Figure.from_interval("engine.p50", p50, "ms", "lower", of, noise=noise),
        Figure.from_interval("engine.gflops", reached, "GFLOP/s", "higher", of, noise=noise),
    ]
    if peaks is not None:
        figures += [
            Figure("peak.gflops", peaks.gflops, "GFLOP/s", "neither", of),
            Figure("peak.bandwidth", peaks.bandwidth_gb_s, "GB/s", "neither", of),
            Figure("share.of_measured_limit", peaks.least_ms(work) / p50.value, "", "neither", of),
        ]
    least_ms = None if profile is None else profile.least_ms(work.flops, work.least_bytes, precision)
    if profile is not None and least_ms is not None:
        of_profile = of | {"profile": profile.name}
        figures.append(Figure("share.of_published_limit", least_ms / p50.value, "", "neither", of_profile))
    return figures


def estimates_of(work: Work, precision: str) -> list[Estimate]:
    """Return, for each profile, the time below which no call of one tile can be."""
    found = []
    for name in profile_names():
        profile = read_profile(name)
        least_ms = profile.least_ms(work.flops, work.least_bytes, precision)
        if least_ms is not None:
            method = (
                f"lower bound by the roofline of {profile.title}: {work.flops / 1e9:.3g} GFLOP at "
                f"{profile.peak_tflops[precision]:g} TFLOPS ({precision}), {work.least_bytes / 1e6:.3g} MB at "
                f"{profile.bandwidth_gb_s:g} GB/s; not measured, real calls take longer"
            )
            found.append(Estimate("latency.lower_bound", least_ms, "ms", method, {"device": name, "batch": 1}))
    return found


def roofline_table(result: Result) -> str:
    """Return the table for people."""
    rows = []
    for figure in result.figures:
        value = f"{figure.value:.1%}" if figure.name.startswith("share.") else number_text(figure.value)
        profile = f" ({figure.of['profile']})" if "profile" in figure.of else ""
        rows.append((figure.name + profile, value, figure.unit))
    return table_of(("a tile", "measured", "unit"), rows)


def _gemm_session() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency("onnx", extra="bench") from error
    import onnxruntime

    helper, kind, shape = onnx.helper, onnx.TensorProto.FLOAT, [GEMM_SIDE, GEMM_SIDE]
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name in ("a", "b")]
    output = helper.make_tensor_value_info("c", kind, shape)
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "gemm", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
