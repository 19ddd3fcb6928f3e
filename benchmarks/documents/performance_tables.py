"""Tables of docs/performance.md, each from one result file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ..contest.promised_ratios import bars_of
from ..measuring.percentiles import Interval
from ..reporting.host_table import host_table
from ..reporting.result import Figure, Result, read_result
from ..reporting.seams_table import seams_table
from ..reporting.text_tables import estimates_table, interval_text, number_text, table_of

DISTILLATION: Final = "nano_distillation.json"  # beside the result of peer_costs


def bars_table(path: Path) -> str:
    """Return the bars of a comparison: the promise, the ratio, whether it holds."""
    result = read_result(path)
    ratios = {(f.of["of"], f.of["to"]): _interval(f) for f in result.figures if f.name == "ratio"}
    rows = []
    for bar in bars_of(str(result.models[0]["variant"])):
        ratio = ratios.get((bar.of, bar.to))
        if ratio is not None:
            verdict = "held" if bar.holds(ratio) else "**missed**"
            rows.append((bar.sentence, f"{bar.of} / {bar.to}", _text(ratio, 3), verdict))
        else:
            rows.append((bar.sentence, f"{bar.of} / {bar.to}", "-", "not in this run"))
    notes = [note for note in result.notes if not note.startswith("bar: ")]
    return f"{table_of(('promise', 'ratio of', 'measured', 'verdict'), rows)}\n\n{_about(result, notes)}"


def compare_table(path: Path) -> str:
    """Return the contestants of a comparison, and below it the settings of each."""
    result = read_result(path)
    by = _by(result, "contestant")
    rows = []
    for label, figures in by.items():
        agreement = figures.get("agreement.alone_max_steps")
        rows.append(
            (
                label,
                _text(_interval(figures["wall.p50"]), 3),
                number_text(figures["throughput"].value, 3),
                number_text(figures["processor.p50"].value, 3),
                number_text(figures["memory.peak"].value, 3),
                number_text(figures["tiles"].value, 6),
                "-" if agreement is None else number_text(agreement.value, 3),
            )
        )
    header = ("contestant", "wall p50, s", "Mpx/s", "processor, s", "peak memory, MB", "tiles", "off ours, 1/254")
    settings = [
        f"- {label}: " + "; ".join(f"{name} {_shown(value)}" for name, value in chosen.items())
        for label, chosen in result.settings["contestants"].items()
    ]
    return "\n".join([table_of(header, rows), "", *settings, "", _about(result, [])])


def scene_table(path: Path) -> str:
    """Return what a scene took, and the share of each phase."""
    result = read_result(path)
    wall = next(f.value for f in result.figures if f.name == "wall.p50")
    rows = []
    for figure in result.figures:
        share = f"{figure.value / wall:.0%}" if figure.name.startswith("phase.") else ""
        rows.append((figure.name, _with_unit(figure), share))
    return f"{table_of(('figure', 'median (95 %)', 'of the wall clock'), rows)}\n\n{_about(result)}"


def host_tables(path: Path) -> str:
    """Return what the host takes around an engine without a model, by stage, and what was computed of it."""
    result = read_result(path)
    return f"{host_table(result)}\n\n{estimates_table(result.estimates)}\n\n{_about(result)}"


def latency_table(path: Path) -> str:
    """Return percentiles, a row a batch."""
    result = read_result(path)
    rows = []
    for batch, figures in _by(result, "batch").items():
        times = [_text(_interval(figures[f"latency.{name}"])) for name in ("p50", "p90", "p95", "p99")]
        memory = figures.get("memory.host_peak")
        rows.append(
            (
                batch,
                *times,
                number_text(figures["throughput.mpx"].value, 3),
                "-" if memory is None else number_text(memory.value, 3),
            )
        )
    header = ("tiles a call", "p50, ms", "p90, ms", "p95, ms", "p99, ms", "Mpx/s", "host MB")
    return f"{table_of(header, rows)}\n\n{_about(result)}"


def sweep_table(path: Path) -> str:
    """Return the settings that nobody beats, and the one to take."""
    result = read_result(path)
    rows = [
        (
            str(one["artifact"]),
            str(one["precision"]),
            str(one["engine"]),
            str(one["tile_px"]),
            str(one["batch"]),
            number_text(one["ms_per_mpx"]),
            "-" if one["memory_mb"] is None else number_text(one["memory_mb"], 3),
            "-" if one["iou"] is None else f"{one['iou']:.4f}",
        )
        for one in sorted(result.settings["unbeaten"], key=lambda one: float(one["ms_per_mpx"]))
    ]
    header = ("unbeaten", "precision", "engine", "tile, px", "batch", "ms a Mpx of map", "memory, MB", "IoU")
    return f"{table_of(header, rows)}\n\n{_about(result)}"


def seams_tables(path: Path) -> str:
    """Return what tiling does to a map, a row for each overlap and kind of blend weights."""
    result = read_result(path)
    return f"{seams_table(result)}\n\n{_about(result)}"


def figures_table(path: Path) -> str:
    """Return every figure of a result, and below it the estimates, which were computed and not measured."""
    result = read_result(path)
    rows = [(" ".join([f.name, *(f"{k}={v}" for k, v in f.of.items())]), _with_unit(f)) for f in result.figures]
    return f"{table_of(('figure', 'measured (95 %)'), rows)}\n\n{_about(result)}"


def estimates_of(path: Path) -> str:
    """Return the estimates of a result alone."""
    result = read_result(path)
    return estimates_table(result.estimates) if result.estimates else "No estimate."


def accuracy_table(path: Path) -> str:
    """Return parameters, GFLOPs and time of each network beside its IoU, a row a way of training."""
    result = read_result(path)
    costs = _by(result, "network")
    cells = json.loads((path.parent / DISTILLATION).read_text(encoding="utf-8"))
    groups = list(cells["rows"][0]["iou"])
    rows = []
    for method, network in dict.fromkeys((c["method"], c["network"]) for c in (*cells["rows"], *cells["not_run"])):
        mine = [cell for cell in cells["rows"] if (cell["method"], cell["network"]) == (method, network)]
        known = costs.get(network)
        cost = ["-"] * 3 if known is None else [number_text(known[n].value, 3) for n in COSTS]
        iou = [_mean(cell["iou"][group] for cell in mine) for group in groups]
        rows.append((network, method, *cost, *iou, _mean(cell["mean_iou_of_groups"] for cell in mine)))
    tile_px = result.settings["tile_px"]
    header = ("network", "phase 1", "parameters, M", f"GFLOPs at {tile_px} px", "tile p50, ms")
    return f"{table_of((*header, *groups, 'mean IoU'), rows)}\n\n{_about(result)}"


COSTS: Final = ("parameters", "gflops", "latency.p50")


def _mean(values: Any) -> str:
    found: Sequence[float] = list(values)
    return f"{statistics.fmean(found):.3f}" if found else "not run"


def _by(result: Result, name: str) -> dict[str, dict[str, Figure]]:
    """Return the figures by what they are of, in the result's order."""
    found: dict[str, dict[str, Figure]] = {}
    for figure in result.figures:
        if name in figure.of:
            found.setdefault(str(figure.of[name]), {})[figure.name] = figure
    return found


def _interval(figure: Figure) -> Interval:
    return Interval(figure.value, figure.low, figure.high)


def _with_unit(figure: Figure) -> str:
    return f"{_text(_interval(figure))} {figure.unit}".strip()


def _text(interval: Interval, digits: int = 4) -> str:
    """Return a value with its bounds, or alone where there are none."""
    if interval.low is None and interval.high is None:
        return number_text(interval.value, digits)
    return interval_text(interval, digits)


def _shown(value: Any) -> str:
    return number_text(value, 3) if isinstance(value, float) else str(value)


def _about(result: Result, notes: Sequence[str] | None = None) -> str:
    """Return on what and with what a result was measured, and notes: all of its own unless others are given."""
    models = ", ".join(
        f"{model['variant']} {model['precision']}, tile {model['tile_px']} px, graph {str(model['graph_sha256'])[:12]}"
        for model in result.models
    )
    versions = ("kda-edge", "onnxruntime", "openvino", "torch", "monai")
    software = ", ".join(f"{name} {result.versions[name]}" for name in versions if name in result.versions)
    facts = result.machine
    where = f"{facts['cores']} cores of {facts['processor']} ({facts['instructions']}), GPU: {facts['gpu']}"
    lines = [f"{models + '; ' if models else ''}{where}; {software}; {result.created[:10]}."]
    if not result.steady:
        lines.append("- **not steady**: the machine was too restless for these figures to decide anything")
    lines += [f"- {note}" for note in (result.notes if notes is None else notes)]
    return "\n".join([lines[0], *([""] if lines[1:] else []), *lines[1:]])


TABLES: Final[Mapping[str, Callable[[Path], str]]] = MappingProxyType(
    {
        "bars": bars_table,
        "compare": compare_table,
        "scene": scene_table,
        "host": host_tables,
        "latency": latency_table,
        "sweep": sweep_table,
        "seams": seams_tables,
        "figures": figures_table,
        "estimates": estimates_of,
        "accuracy": accuracy_table,
    }
)
