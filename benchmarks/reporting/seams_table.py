"""Table of what tiling does to a map, a row for each overlap and kind of blend weights."""

from __future__ import annotations

from collections.abc import Mapping

from .result import Figure, Result
from .text_tables import number_text, table_of


def seams_table(result: Result) -> str:
    """Return the table; the setting of kda-infer without options is marked."""
    by: dict[tuple[int, str], dict[str, Figure]] = {}
    for figure in result.figures:
        if "weights" in figure.of:
            key = int(figure.of["overlap_px"]), str(figure.of["weights"])
            by.setdefault(key, {})[figure.name] = figure
    default = result.settings["default"]["overlap_px"], result.settings["default"]["weights"]
    rows = [
        (
            f"{overlap_px}{' (default)' if (overlap_px, weights) == default else ''}",
            weights,
            f"{figures['tiles'].value:,.0f}",
            f"{figures['arithmetic'].value:.2f}",
            f"{figures['arithmetic.inside'].value:.2f}",
            _share(figures, "reference.flips"),
            number_text(figures["reference.mean_abs"].value, 2),
            number_text(figures["reference.max_abs"].value, 2),
            f"{figures['reference.iou'].value:.3f}",
            _share(figures, "moved.flips"),
            _share(figures, "moved.near.flips"),
            _share(figures, "moved.far.flips"),
        )
        for (overlap_px, weights), figures in by.items()
    ]
    header = ("overlap, px", "weights", "tiles", "x least", "x least inside", "flips", "mean", "largest", "IoU")
    return table_of((*header, "flips when moved", "near borders", "far from them"), rows)


def _share(figures: Mapping[str, Figure], name: str) -> str:
    return f"{figures[name].value:.2%}" if name in figures else "-"
