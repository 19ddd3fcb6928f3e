"""The result of a comparison on a scene: figures for machines, a table for people."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kda_edge.runtime.engines.artifact import Artifact
from kda_edge.runtime.geo.gdal import open_raster

from ..contestants.by_name import ENGINE_ALONE, OURS
from ..measuring.interleaved import Rounds
from ..reporting.measured_on import model_facts
from ..reporting.result import Figure, Result
from ..reporting.text_tables import interval_text, number_text, table_of
from .contestant_process import MeasuredLap
from .map_agreement import Agreement
from .promised_ratios import bars_of


def comparison_result(
    *,
    options: argparse.Namespace,
    scene_path: Path,
    first: Artifact,
    models: Sequence[Artifact],
    contestants: Mapping[str, Mapping[str, Any]],
    laps: Mapping[str, Sequence[MeasuredLap]],
    rounds: Rounds,
    agreements: Mapping[str, Agreement],
) -> Result:
    """Return the result of a comparison.

    Args:
        options: of the command.
        scene_path: of the scene or the part of it that ran.
        first: the artifact whose weights the peers have.
        models: all artifacts.
        contestants: by label, the settings of each.
        laps: by label, round by round; the first label is ours.
        rounds: their times.
        agreements: by label, of those that make a map.
    """
    with open_raster(scene_path) as scene:
        height_px, width_px = scene.height, scene.width
    settings = {
        "scene": options.scene.name,
        "height_px": height_px,
        "width_px": width_px,
        "rows": options.rows and list(options.rows),
        "rounds": options.rounds,
        "order": "one lap of each contestant a round, always in this order",
        "contestants": dict(contestants),
    }
    series = {f"wall.{label}": [time_ms / 1e3 for time_ms in rounds.of(label)] for label in rounds.names}
    return Result(
        benchmark="compare",
        settings=settings,
        figures=[
            *_costs(laps, rounds, height_px * width_px / 1e6),
            *_ratios(rounds),
            *_agreements(agreements),
        ],
        models=[model_facts(model) for model in models],
        series=series,
        notes=_notes(options, first, rounds, agreements),
    )


def comparison_table(result: Result, laps: Mapping[str, Sequence[MeasuredLap]], rounds: Rounds) -> str:
    """Return the table for people, with each contestant's settings below."""
    ours = rounds.names[0]
    rows = [
        (
            label,
            interval_text(rounds.percentiles(label).p50.scaled(1e-3), 3),
            interval_text(rounds.ratio(label, ours), 3),
            number_text(statistics.median(lap.cpu_s for lap in laps[label]), 3),
            number_text(max(lap.peak_mb for lap in laps[label]), 3),
            str(laps[label][-1].lap.tiles),
        )
        for label in rounds.names
    ]
    header = ("contestant", "wall p50, s", f"over {ours}", "processor, s", "peak memory, MB", "tiles computed")
    settings = [
        f"- {label}: " + "; ".join(f"{name} {value}" for name, value in chosen.items() if name != "open_s")
        for label, chosen in result.settings["contestants"].items()
    ]
    return "\n".join([table_of(header, rows), "", *settings])


def _costs(laps: Mapping[str, Sequence[MeasuredLap]], rounds: Rounds, mpx: float) -> list[Figure]:
    figures = []
    for label in rounds.names:
        of, wall = {"contestant": label}, rounds.percentiles(label).p50.scaled(1e-3)
        mine = laps[label]
        figures += [
            Figure.from_interval("wall.p50", wall, "s", "lower", of),
            Figure.from_interval("throughput", wall.inverse(mpx), "Mpx/s", "higher", of),
            Figure("processor.p50", statistics.median(lap.cpu_s for lap in mine), "s", "lower", of),
            Figure("memory.peak", max(lap.peak_mb for lap in mine), "MB", "lower", of),
            Figure("tiles", mine[-1].lap.tiles, "", "neither", of),
        ]
    return figures


def _ratios(rounds: Rounds) -> list[Figure]:
    ours = rounds.names[0]
    figures = []
    for label in rounds.names[1:]:
        of, to = (ours, label) if label == ENGINE_ALONE else (label, ours)
        better = "lower" if label == ENGINE_ALONE else "higher"
        if label.startswith(OURS):
            better = "neither"
        figures.append(Figure.from_interval("ratio", rounds.ratio(of, to), "", better, {"of": of, "to": to}))  # type: ignore[arg-type]  # a literal
    return figures


def _agreements(agreements: Mapping[str, Agreement]) -> list[Figure]:
    return [
        figure
        for label, found in agreements.items()
        for figure in (
            Figure("agreement.alone_px", found.alone_px, "px", "neither", {"contestant": label}),
            Figure("agreement.alone_max_steps", found.alone_max_steps, "1/254", "lower", {"contestant": label}),
            Figure("agreement.alone_mean_abs", found.alone_mean_abs, "", "lower", {"contestant": label}),
            Figure("agreement.mean_abs", found.mean_abs, "", "lower", {"contestant": label}),
            Figure("agreement.same_class", found.same_class, "", "higher", {"contestant": label}),
        )
    ]


def _notes(
    options: argparse.Namespace, first: Artifact, rounds: Rounds, agreements: Mapping[str, Agreement]
) -> list[str]:
    notes = [f"{label} against {rounds.names[0]}: {found.sentence()}" for label, found in agreements.items()]
    for bar in bars_of(first.manifest.variant):
        if bar.of in rounds.names and bar.to in rounds.names:
            ratio = rounds.ratio(bar.of, bar.to)
            verdict = "held" if bar.holds(ratio) else "MISSED"
            if bar.holds(ratio) and bar.holds_within(ratio) is False:
                verdict = "held, though not by the whole interval"
            notes.append(f"bar: {bar.sentence}: {interval_text(ratio, 3)}, {verdict}")
    if options.rows is not None:
        notes.append(f"every contestant mapped rows {options.rows[0]} to {options.rows[1] - 1} of the scene alone")
    if options.rounds < 6:
        notes.append("fewer than 6 rounds have no intervals")
    return notes
