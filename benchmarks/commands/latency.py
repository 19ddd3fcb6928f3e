"""Time calls of an engine until they are steady: percentiles with intervals, throughput, phases, peak memory.

A call takes raw pixels in memory to landslide probability in memory: `prepare` (tensor from pixels), then the engine
(copies to the device and back included). Reading and writing files is what `kda-bench scene` adds. A result that is
not steady says so; measure again on a quiet machine.

Example: kda-bench latency student.onnx --batch 1,2,4 --json new.json --plots plots
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.engine_names import ENGINES, GPU_ENGINES
from kda_edge.runtime.engines.model_engine import Timed
from kda_edge.runtime.opened_engine import OpenedEngine, open_engine
from kda_edge.tiling.tile_answers import Engine

from ..measuring.stability import StabilityRule
from ..measuring.timed_work import call_of, example_images
from ..measuring.timing import Clock, TimingPlan, measured
from ..reporting import plots
from ..reporting.measured_on import engine_parity, model_facts
from ..reporting.result import Result
from ..reporting.text_tables import add_json_option, publish, require_json_path
from ..sensors.conditions import conditions
from ..sensors.peak_memory import device_memory, peak_rss_mb, reset_peak
from .latency_figures import BatchRun, figures_of, latency_table
from .options import add_engine_options, positive_number, positive_numbers


@dataclass(frozen=True)
class LatencyConfig:
    """What is measured.

    Attributes:
        model: `.onnx` file, or None for the bundled student.
        engine: one of `kda_edge.runtime.engines.engine_names.ENGINES`.
        batches: tiles a call, each measured on its own, from small to large.
        tile_px: what the caller believes the tile to be; None: no belief.
        plan: how long to measure.
        allow_unverified: measure a model without a certificate that holds.
    """

    model: Path | None = None
    engine: str = "auto"
    batches: tuple[int, ...] = (1,)
    tile_px: int | None = None
    plan: TimingPlan = field(default_factory=TimingPlan)
    allow_unverified: bool = False

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"there is no engine {self.engine!r}; give one of {', '.join(ENGINES)}")
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) != len(self.batches):
            raise UsageError("--batch takes different numbers of tiles, 1 or more, such as 1,2,4")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `kda-bench latency` takes."""
    add_engine_options(parser)
    add = parser.add_argument
    add("--batch", type=positive_numbers, default=(1,), metavar="N,N", help="tiles a call, each measured (default: 1)")
    add("--tile", type=int, metavar="PX", help="fail unless the model's tile is this; it is fixed in the file")
    add("--min-calls", type=int, default=400, metavar="N", help="fewest calls that count (default: 400)")
    add("--tolerance", type=positive_number, default=0.03, metavar="SHARE", help="of windows' medians (default: 0.03)")
    add("--limit", type=positive_number, default=60.0, metavar="S", help="seconds a batch, at most (default: 60)")
    add("--plots", type=Path, metavar="DIR", help="write latency.png and phases.png there")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, print and write what was asked for."""
    require_json_path(options.json)
    if options.plots is not None:
        plots.require_matplotlib()
    config = LatencyConfig(
        model=options.model,
        engine=options.engine,
        batches=tuple(sorted(options.batch)),
        tile_px=options.tile,
        plan=plan_from(options.min_calls, options.tolerance, options.limit),
        allow_unverified=options.allow_unverified,
    )
    result = latency(config)
    if options.plots is not None:
        plots.write_latency(result, options.plots)
    publish(result, latency_table(result), json_to=options.json)
    return 0


def plan_from(min_calls: int, tolerance: float, limit_s: float) -> TimingPlan:
    """Return a plan from a command line.

    Raises:
        UsageError: too few calls.
    """
    rule = StabilityRule(tolerance=tolerance)
    if min_calls < rule.windows:
        raise UsageError(f"--min-calls must be {rule.windows} or more")
    return TimingPlan(rule, min_calls=min_calls, warm_up_limit_s=max(limit_s / 3, 1.0), limit_s=limit_s)


def latency(config: LatencyConfig, *, open_model: Callable[..., OpenedEngine] = open_engine) -> Result:
    """Open the model and measure each batch.

    Args:
        config: what is measured.
        open_model: `open_engine`, or what takes its arguments.

    Raises:
        KdaEdgeError: as `open_engine`; also where the tile is not the model's.
    """
    artifact = read_artifact(config.model, allow_unverified=config.allow_unverified)
    with open_model(config.model, engine=config.engine, allow_unverified=config.allow_unverified) as engine:
        require_tile(config.tile_px, engine.manifest)
        before = conditions(engine.name)
        on_gpu = engine.name in GPU_ENGINES
        measured_by_batch = measure_batches(
            engine,
            engine.manifest,
            config,
            max_batch=engine.facts.max_batch,
            timed=engine.timed,
            device=device_memory if on_gpu else None,
        )
        figures, series, notes = figures_of(measured_by_batch, engine.manifest.tile_px, engine.name)
        return Result(
            benchmark="latency",
            settings=dataclasses.asdict(dataclasses.replace(config, model=None)) | {"engine_used": engine.name},
            figures=figures,
            models=[model_facts(artifact)],
            conditions={"before": before, "after": conditions(engine.name), **engine_parity(engine.facts)},
            series=series,
            notes=[*engine.notes, *split_notes(engine.facts.max_batch, config.batches), *notes],
            steady=all(batch.timing.is_steady for batch in measured_by_batch.values()),
        )


def split_notes(max_batch: int | None, batches: Sequence[int]) -> list[str]:
    """Return a note where batches are larger than what an engine computes at once."""
    large = [str(batch) for batch in batches if max_batch is not None and batch > max_batch]
    if not large:
        return []
    return [f"this engine computes at most {max_batch} tile(s) at once: batches of {', '.join(large)} bring nothing"]


def require_tile(tile_px: int | None, manifest: Manifest) -> None:
    """Raise `UsageError` where a tile is asked for that the model does not have."""
    if tile_px not in (None, manifest.tile_px):
        raise UsageError(
            f"the model's tile is {manifest.tile_px} px and fixed in the file, not {tile_px} px; "
            f"export it with: kda-export --tile {tile_px}"
        )


def measure_batches(
    engine: Engine,
    manifest: Manifest,
    config: LatencyConfig,
    *,
    max_batch: int | None = None,
    timed: Timed | None = None,
    device: Callable[[], tuple[str, float] | None] | None = None,
    clock: Clock = time.perf_counter,
) -> dict[int, BatchRun]:
    """Measure each batch, one after the other, with the same open engine.

    Args:
        engine: that is called.
        manifest: of its model.
        config: which batches, and for how long.
        max_batch: most tiles that the engine computes at once; None: any number.
        timed: the engine's call that tells what copies and computing took; not asked about a batch that the engine
            splits, since the parts of that overlap. None: it tells nothing.
        device: tells the memory on the device, as `device_memory`; None: the engine uses none.
        clock: in seconds.
    """
    found = {}
    for batch in config.batches:
        is_split = max_batch is not None and batch > max_batch
        images = example_images(manifest, batch)
        call = call_of(engine, images, manifest.tile_px, timed=None if is_split else timed, clock=clock)
        told = reset_peak()
        timing = measured(call, config.plan, clock=clock)
        found[batch] = BatchRun(timing, peak_rss_mb() if told else None, None if device is None else device())
    return found
