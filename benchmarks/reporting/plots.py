"""Plots of results as PNG, in colours that colour-blind people tell apart."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kda_edge.errors import MissingDependency, OutputError, one_line
from kda_edge.runtime.engines.engine_names import GPU_ENGINES
from kda_edge.whole_files import write_whole

from .result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008, "Color Universal Design", without yellow, which is faint on white.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
SIZE_INCHES: Final = (8.0, 4.5)
DPI: Final = 120
CACHED_BYTES: Final = 32_000_000  # last-level caches of many desktop processors


def require_matplotlib() -> None:
    """Raise `MissingDependency` where there is no matplotlib: before minutes of measuring, not after."""
    if importlib.util.find_spec("matplotlib") is None:  # not imported: it would count as memory of what is measured
        raise MissingDependency("matplotlib", extra="bench")


@contextmanager
def drawn(path: Path, *, title: str) -> Iterator[Axes]:
    """Yield axes to draw on; they become a PNG, whole or not at all, when the block ends well.

    Args:
        path: of the PNG; its folder is created.
        title: above the plot.

    Raises:
        MissingDependency: matplotlib is not installed.
        OutputError: the file can't be written.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(canvas)  # no window, no display
    axes = canvas.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.set_prop_cycle(color=COLOURS)
    yield axes
    png = io.BytesIO()
    canvas.savefig(png, format="png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, png.getvalue())
    except OSError as error:
        raise OutputError(f"{path} can't be written ({one_line(error)}); give another --plots") from error


def write_latency(result: Result, folder: Path) -> None:
    """Write `latency.png`, the distribution of each batch's times, and `phases.png`, what they consist of."""
    with drawn(folder / "latency.png", title=heading(result)) as axes:
        for name, times in result.series.items():
            ordered = np.sort(np.asarray(times))
            share = np.arange(1, len(ordered) + 1) / len(ordered)
            axes.step(ordered, share, where="post", label=name.removeprefix("latency_ms "))
        for level in (0.5, 0.9, 0.99):
            axes.axhline(level, color="#999999", linewidth=0.6, linestyle=":")
        axes.set_xlabel("latency of a call, ms")
        axes.set_ylabel("share of calls that took no longer")
        axes.set_ylim(0, 1)
        axes.legend()
    with drawn(folder / "phases.png", title=heading(result)) as axes:
        stacked_phases(axes, result)


def stacked_phases(axes: Axes, result: Result) -> None:
    """Draw a bar for each batch, the median of its phases on one another."""
    phases = list(dict.fromkeys(f.name for f in result.figures if f.name.startswith("phase.")))
    batches = sorted({f.of["batch"] for f in result.figures if f.name.startswith("phase.")}, key=int)
    foot = np.zeros(len(batches))
    for phase in phases:
        values: dict[Any, float] = {f.of["batch"]: f.value for f in result.figures if f.name == phase}
        heights = np.asarray([values.get(batch, 0.0) for batch in batches])
        axes.bar([str(batch) for batch in batches], heights, bottom=foot, label=phase.removeprefix("phase."))
        foot += heights
    axes.set_xlabel("tiles a call")
    axes.set_ylabel("median of a phase, ms")
    axes.legend()


def write_roofline(result: Result, folder: Path) -> None:
    """Write `roofline.png`: the machine's measured limits, and where the model lies below them."""
    by_name = {figure.name: figure.value for figure in result.figures}
    with drawn(folder / "roofline.png", title=heading(result)) as axes:
        intensity = by_name["work.gflop"] * 1e3 / by_name["work.least_bytes"]
        if "peak.gflops" in by_name:
            peak, bandwidth = by_name["peak.gflops"], by_name["peak.bandwidth"]
            span = np.geomspace(min(0.1, intensity / 10), max(1000.0, intensity * 10), 200)
            axes.plot(span, np.minimum(peak, span * bandwidth), label="measured limit of this machine")
        axes.plot([intensity], [by_name["engine.gflops"]], "o", color=COLOURS[5], label="the model, one tile a call")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("FLOP for each byte that must be moved")
        axes.set_ylabel("GFLOP/s")
        axes.legend()


def write_soak(result: Result, folder: Path) -> None:
    """Write `soak.png`: median and tail of each window over time."""
    with drawn(folder / "soak.png", title=heading(result)) as axes:
        minutes = np.asarray(result.series["window_end_s"]) / 60
        for name, label in (("window_p50_ms", "p50"), ("window_p99_ms", "p99")):
            axes.plot(minutes, result.series[name], label=label)
        axes.set_xlabel("minutes")
        axes.set_ylabel("latency of a call, ms")
        axes.set_ylim(bottom=0)
        axes.legend()


def heading(result: Result) -> str:
    """Return one line on what was measured, and on what."""
    model = result.models[0] if result.models else {"variant": "", "precision": "", "tile_px": ""}
    steady = "" if result.steady else ", NOT STEADY"
    where = result.machine["gpu" if result.settings.get("engine_used") in GPU_ENGINES else "processor"]
    return (
        f"{model['variant']} {model['precision']}, tile {model['tile_px']} px, "
        f"{result.settings.get('engine_used', '')} on {where}{steady}"
    )
