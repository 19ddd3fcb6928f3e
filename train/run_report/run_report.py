"""Reports written: that of a finished run, and that of one evaluation of any checkpoint."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import torch

from kda_edge import __version__
from kda_edge.errors import OutputError, UsageError, one_line
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint, weights_digest
from kda_edge.paths import is_file
from kda_edge.whole_files import write_whole

from ..configuration.config_file import CONFIG
from ..data.data_file import DataSet
from ..data_report.data_report import DataReport
from ..data_report.report_text import lines_of
from ..loops.metrics_csv import METRICS
from .charts import calibration_chart, precision_recall_chart, threshold_chart, training_chart
from .curves import average_precision, calibration, merged, precision_recall, threshold_curve
from .judged_split import JudgedSplit, cautions, judge_split, with_examples
from .page import Charts, Report, html_of

REPORT: Final = "report.html"
BEST: Final = "best.pt"


def run_folder(folder: Path) -> Path:
    """Return the folder of phase 2 of a run: this one, or `segment` in that of `fit`.

    Raises:
        UsageError: neither holds a finished epoch.
    """
    for run in (folder, folder / "segment"):
        if is_file(run / BEST):
            return run
    raise UsageError(f"{folder} holds no {BEST}; name the folder of a run of kda-train segment or fit")


def write_run_report(
    run: Path,
    data: DataSet,
    *,
    device: torch.device,
    data_report: DataReport | None = None,
    notes: Sequence[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Judge the best student of a run on test and val, and write `report.html` into the run's folder.

    Args:
        run: folder of phase 2.
        data: of the run.
        device: that computes.
        data_report: of the same imagery; None: it is left out.
        notes: more that a reader must know, a line each.
        progress: called with a label, done and in all.

    Returns:
        The path of the report; its pictures lie in `report/` as PNG.

    Raises:
        CheckpointError: `best.pt` can't be read.
        OutputError: the report can't be written.
    """
    checkpoint = read_checkpoint(run / BEST)
    checkpoint.student.to(device)
    splits = [split for split in ("test", "val") if data.samples[split]]
    judged = [
        with_examples(judge_split(checkpoint, data, split, device=device, progress=progress), checkpoint, data, device)
        for split in splits
    ]
    said = [line for one in judged for line in cautions(one, chose_the_epoch=one.split == "val")]
    if "test" not in splits:
        said.insert(0, "there is no test split: nothing here was measured on images that nothing was chosen by")
    report = Report(
        f"Run {run.resolve().name}",
        _facts(checkpoint, device),
        [*notes, *said],
        training_chart(rows) if (rows := _rows(run / METRICS)) else b"",
        [(one, _charts(one)) for one in judged],
        list(lines_of(data_report)) if data_report else [],
        _text(run / CONFIG),
    )
    return write_report(run / REPORT, report)


def evaluation_report(checkpoint: Checkpoint, file: Path, judged: JudgedSplit, device: torch.device) -> Report:
    """Return the report of one evaluation.

    Args:
        checkpoint: that was judged.
        file: that holds it.
        judged: the split.
        device: that computed.
    """
    chose = judged.split == "val" and any(name.startswith("val ") for name in checkpoint.training.metrics)
    return Report(
        f"{file.name} on {judged.split}",
        {"checkpoint": str(file), **_facts(checkpoint, device)},
        cautions(judged, chose_the_epoch=chose),
        b"",
        [(judged, _charts(judged))],
        [],
        "",
    )


def write_report(path: Path, report: Report) -> Path:
    """Write a report, and its pictures as PNG into the folder beside it that has its name without ending.

    Raises:
        OutputError: it can't be written.
    """
    folder = path.with_suffix("")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, png in _pictures(report):
            write_whole(folder / f"{name}.png", png)
        write_whole(path, html_of(report).encode(errors="backslashreplace"))
    except OSError as error:
        raise OutputError(f"{path} can't be written ({one_line(error)}); choose another place") from error
    return path


def _pictures(report: Report) -> Iterator[tuple[str, bytes]]:
    if report.training:
        yield "training", report.training
    for judged, charts in report.splits:
        yield f"{judged.split}_threshold", charts.threshold
        yield f"{judged.split}_precision_recall", charts.precision_recall
        yield f"{judged.split}_calibration", charts.calibration
        for kind, examples in (("worst", judged.worst), ("best", judged.best), ("false_alarms", judged.alarms)):
            for number, example in enumerate(examples, start=1):
                yield f"{judged.split}_{kind}_{number}", example.png


def _charts(judged: JudgedSplit) -> Charts:
    sources = judged.evaluation.by_source()
    together, counts = merged(sources), judged.counts
    precision, recall = precision_recall(together)
    return Charts(
        threshold_chart(threshold_curve(sources), judged.threshold),
        precision_recall_chart(precision, recall, (counts.recall, counts.precision), average_precision(together)),
        calibration_chart(calibration(together)),
    )


def _facts(checkpoint: Checkpoint, device: torch.device) -> dict[str, str]:
    record, low_high = checkpoint.training, checkpoint.input.gsd_m
    facts = {
        "network": checkpoint.student.variant,
        "parameters": f"{sum(one.numel() for one in checkpoint.student.parameters()):,}",
        "weights, SHA-256": weights_digest(checkpoint.student),
        "tiles": f"{checkpoint.tile_px} px",
        "pixels": f"{checkpoint.input.pixel_type}, {checkpoint.input.value_range[0]:g} to "
        f"{checkpoint.input.value_range[1]:g}",
        "ground sampling distance": f"{low_high[0]:g} to {low_high[1]:g} m" if low_high else "not declared",
        "epochs": str(record.epochs),
        "trained in": checkpoint.compute,
        "backbone": record.teacher,
        "command": record.command,
        "measured by": f"kda-edge {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}, "
        f"on {device.type}",
    }
    return {name: value for name, value in facts.items() if value}


def _rows(path: Path) -> list[dict[str, str]]:
    return [row for row in csv.DictReader(io.StringIO(_text(path))) if (row.get("epoch") or "").isdecimal()]


def _text(path: Path) -> str:
    """Return what a file holds; nothing where it can't be read: a report tells what there is."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
