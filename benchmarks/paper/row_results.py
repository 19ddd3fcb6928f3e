"""Results of a paper's table: its rows as JSON holds them, and the notes that go with it."""

from __future__ import annotations

import dataclasses
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .complexity import Complexity, complexity_of
from .experiments import facts_of, result_of
from .row_commands import TEACHERS, Settings, cell_of, row_label
from .tables import NOT_RUN, PaperRow, PaperTable


def row_of(
    row: PaperRow,
    table: PaperTable,
    settings: Settings,
    seeds: Sequence[int],
    counts: Mapping[str, Complexity],
) -> dict[str, Any]:
    """Return a row: what was run of it, mean and standard deviation over seeds, and the paper's figures.

    Metrics are shares, 0..1, of the whole split: `iou`, `precision`, `recall` and `f1` of landslide, `mean_*` over both
    classes. One that is undefined with a seed has no mean. The paper's are percent. A row with a stand-in has none.
    """
    runs = [_run_of(row, table, settings, seed) for seed in seeds]
    measured = [run["metrics"] for run in runs if run["status"] == "run"]
    names = sorted(set.intersection(*(set(metrics) for metrics in measured))) if measured else []
    values = {name: [metrics[name] for metrics in measured] for name in names}
    stand_in = bool(row.method) and settings.is_stand_in(row.teacher)
    result: dict[str, Any] = {
        "row": row_label(row, settings),
        "runs": runs,
        "seeds": len(seeds),
        "seeds_run": len(measured),
        "mean": {name: statistics.fmean(found) for name, found in values.items()},
        "stdev": {name: statistics.stdev(found) for name, found in values.items() if len(found) > 1},
        "paper_percent": None if stand_in else dict(row.percent),
    }
    if row.method:
        result["teacher"] = settings.model_of(row.teacher)
    if row.name in counts:
        result |= dataclasses.asdict(counts[row.name])
        result["paper_counts"] = {"decoder_parameters_m": row.decoder_parameters_m, "gflops": row.gflops}
    return result


def counts_of(table: PaperTable, settings: Settings) -> dict[str, Complexity]:
    """Return the counts of a table's networks by row, where the paper counts."""
    return {
        row.name: complexity_of(f"{settings.variant}+{row.network}" if row.network else settings.variant)
        for row in table.rows
        if row.gflops is not None
    }


def notes_of(table: PaperTable, settings: Settings, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a reader of the table must know."""
    judged = "at the threshold that was best on val" if settings.threshold is None else f"at {settings.threshold:g}"
    notes = [
        f"Percent, pixels of the whole {table.split} split together, {judged}; ± is the standard deviation of seeds."
    ]
    changed = [f"{what} {_words(ours)} (paper: {_words(paper)})" for what, ours, paper in _differences(settings)]
    changed += [f"{name.replace('_', ' ')} `{shlex.join(words)}`" for name, words in _further(settings) if words]
    if changed:
        notes.append(f"Not as in the paper: {'; '.join(changed)}.")
    stand_ins = sorted({row["teacher"] for row in rows if row["paper_percent"] is None})
    if stand_ins:
        notes.append(f"The paper has no row with {', '.join(stand_ins)}: no figure of it stands beside.")
    if table.split == "val":
        notes.append("Epochs were chosen on val, as this table judges: its figures are kind to all rows alike.")
    if any(row.network and not row.method for row in table.rows):
        notes.append(f"Encoders of the peers start from: {settings.peer_weights}.")
    if settings.data.is_dir():
        notes.append("The split is random, 8:1:1, drawn by the seed: neighbouring tiles leak from train into test.")
    notes.append("The paper does not say which of its figures are of landslide and which are means (docs/paper.md).")
    if any(row["seeds_run"] < row["seeds"] for row in rows):
        notes.append(f"'{NOT_RUN}': no run with these settings is done.")
    return notes


def _run_of(row: PaperRow, table: PaperTable, settings: Settings, seed: int) -> dict[str, Any]:
    cell = cell_of(row, table.split, seed, settings)
    commands = [shlex.join(["kda-train", *step.arguments]) for step in cell.steps]
    result = result_of(cell)
    if result is None:
        return {"seed": seed, "status": NOT_RUN, "commands": commands}
    metrics: dict[str, dict[str, float]] = result["metrics"]
    return {
        "seed": seed,
        "status": "run",
        "commands": commands,
        "machines": [facts_of(step) for step in cell.steps],
        "metrics": metrics[_total(metrics)],
        "groups": {name: values for name, values in metrics.items() if "/" in name},
        "threshold": result["threshold"],
        "checkpoint_sha256": result["checkpoint_sha256"],
    }


def _total(metrics: Mapping[str, Any]) -> str:
    """The name of everything together: `all`, or the only source, or its only group."""
    sources = [name for name in metrics if "/" not in name]
    return "all" if "all" in sources else next(iter(sources or metrics))


def _differences(settings: Settings) -> list[tuple[str, Any, Any]]:
    paper = Settings(settings.data, Path())
    names = ("variant", "epochs", "batch", "crop_px")
    both = [(name.replace("_px", ", px,"), getattr(settings, name), getattr(paper, name)) for name in names]
    both.append(("model inside the discriminator", settings.seen_through, TEACHERS["DINOv2-B"]))
    return [(what, ours, theirs) for what, ours, theirs in both if ours != theirs]


def _words(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _further(settings: Settings) -> list[tuple[str, tuple[str, ...]]]:
    return [("distill_options", settings.distill_options), ("segment_options", settings.segment_options)]
