"""The four tables of the paper as data, and as Markdown with our figures beside the paper's.

Source: KDA, doi 10.1109/LGRS.2025.3597685, Tables I to IV. Its metrics mix values of the landslide class with means
over both classes without saying which (docs/paper.md), so each of its figures stands beside all of ours that it may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

NOT_RUN: Final = "not run"
BEST: Final = ("kda", "DINOv2-L", (0.6, 0.4))  # method, teacher, weights of divergence and score distance
OURS: Final = MappingProxyType(  # what a metric of the paper may correspond to, as `kda-train evaluate --json` names it
    {
        "iou": ("iou",),
        "mean_iou": ("mean_iou",),
        "overall_accuracy": ("overall_accuracy",),
        "f1": ("f1", "mean_f1"),
        "precision": ("precision", "mean_precision"),
    }
)
HEADINGS: Final = MappingProxyType(
    {
        "iou": "IoU, landslide",
        "mean_iou": "IoU, mean of classes",
        "overall_accuracy": "OA",
        "f1": "F1, landslide",
        "mean_f1": "F1, mean of classes",
        "precision": "precision, landslide",
        "mean_precision": "precision, mean of classes",
    }
)
PAPER_HEADINGS: Final = MappingProxyType(
    {"iou": "IoU", "mean_iou": "mIoU", "overall_accuracy": "OA", "f1": "F1", "precision": "precision"}
)


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper, and what is run for it.

    Attributes:
        name: short, for `--only`.
        label: as the paper writes it.
        percent: the paper's figures, by the names of `OURS`.
        method: `kda` or `kd`; empty for a peer, which has no phase 1.
        teacher: the paper's name of it.
        weights: of the divergence and of the score distance.
        network: the peer, or the decoder on the student's encoder; empty for DCF.
        decoder_parameters_m: the paper's count, millions.
        gflops: the paper's count for the whole model at 224 px.
    """

    name: str
    label: str
    percent: Mapping[str, float]
    method: str = BEST[0]
    teacher: str = BEST[1]
    weights: tuple[float, float] = BEST[2]
    network: str = ""
    decoder_parameters_m: float | None = None
    gflops: float | None = None


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes:
        name: of the command.
        title: what it compares.
        split: of the data, that it is judged on.
        metrics: the paper's, by the names of `OURS`; all are ours too.
        rows: in the paper's order.
        also: metrics of ours that are shown without a figure of the paper.
    """

    name: str
    title: str
    split: str
    metrics: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    also: tuple[str, ...] = ()


FOUR: Final = ("iou", "mean_iou", "overall_accuracy", "f1")
KDA: Final = (70.76, 86.53, 98.18, 91.44)  # the row that Tables II, III and IV share


def _weights_row(kl: float, mse: float, *percent: float) -> PaperRow:
    figures = dict(zip(("mean_iou", "f1"), percent, strict=True))
    return PaperRow(f"{kl}/{mse}", f"KL {kl}, MSE {mse}", figures, weights=(kl, mse))


def _peer_row(name: str, label: str, *percent: float) -> PaperRow:
    figures = dict(zip((*FOUR, "precision"), percent, strict=True))
    return PaperRow(name, label, figures, method="", network=name)


def _teacher_row(method: str, teacher: str, *percent: float) -> PaperRow:
    figures = dict(zip(FOUR, percent, strict=True))
    return PaperRow(f"{method}-{teacher.lower()}", f"{method.upper()}, {teacher}", figures, method, teacher)


def _decoder_row(head: str, label: str, parameters_m: float, gflops: float, *percent: float) -> PaperRow:
    figures = dict(zip(FOUR, percent, strict=True))
    return PaperRow(head or "dcf", label, figures, network=head, decoder_parameters_m=parameters_m, gflops=gflops)


TABLES: Final = MappingProxyType(
    {
        "table1": PaperTable(
            "table1",
            "Table I: weights of the two losses of phase 1",
            "val",
            ("mean_iou", "f1"),
            (
                _weights_row(0.5, 0.5, 85.97, 90.61),
                _weights_row(0.6, 0.4, 86.53, 91.44),
                _weights_row(0.7, 0.3, 86.11, 91.25),
            ),
            also=("iou",),
        ),
        "table2": PaperTable(
            "table2",
            "Table II: KDA and its peers",
            "test",
            (*FOUR, "precision"),
            (
                _peer_row("fcn", "FCN", 55.72, 75.17, 94.97, 72.13, 62.98),
                _peer_row("unet", "UNet", 51.18, 72.62, 94.41, 70.60, 61.80),
                _peer_row("deeplabv3plus", "DeepLabv3+", 68.14, 82.40, 96.88, 81.26, 74.28),
                _peer_row("mffenet", "MFFENet", 67.99, 82.32, 96.86, 81.15, 74.14),
                _peer_row("segformer", "SegFormer", 68.94, 84.62, 95.52, 91.20, 90.27),
                _peer_row("segnext", "SegNeXt", 69.05, 84.78, 97.24, 90.80, 89.92),
                PaperRow("kda", "KDA", dict(zip((*FOUR, "precision"), (*KDA, 91.93), strict=True))),
            ),
        ),
        "table3": PaperTable(
            "table3",
            "Table III: teachers, without (KD) and with (KDA) the discriminator",
            "test",
            FOUR,
            (
                _teacher_row("kd", "DINOv2-B", 68.82, 84.67, 96.64, 88.93),
                _teacher_row("kd", "DINOv2-L", 69.11, 84.86, 96.32, 88.62),
                _teacher_row("kd", "DINOv2-G", 69.25, 85.17, 96.25, 89.26),
                _teacher_row("kd", "ConvNeXt-B", 68.61, 84.30, 96.20, 88.73),
                _teacher_row("kd", "ConvNeXt-L", 68.79, 84.59, 95.83, 88.51),
                _teacher_row("kd", "ConvNeXt-XL", 69.20, 84.96, 96.72, 89.17),
                _teacher_row("kda", "DINOv2-B", 69.18, 84.91, 96.54, 89.08),
                _teacher_row("kda", "DINOv2-L", *KDA),
                _teacher_row("kda", "DINOv2-G", 69.34, 85.29, 97.07, 90.23),
                _teacher_row("kda", "ConvNeXt-B", 68.44, 84.16, 96.78, 88.72),
                _teacher_row("kda", "ConvNeXt-L", 68.96, 84.74, 97.08, 90.12),
                _teacher_row("kda", "ConvNeXt-XL", 69.24, 85.13, 97.14, 89.92),
            ),
        ),
        "table4": PaperTable(
            "table4",
            "Table IV: decoders on one distilled encoder",
            "test",
            FOUR,
            (
                _decoder_row("", "DCF", 0.27, 22.26, *KDA),
                _decoder_row("unet", "UNet-Head", 12.16, 35.52, 55.87, 75.04, 72.34, 69.92),
                _decoder_row("segformer", "SegFormer-Head", 0.76, 24.08, 68.94, 84.62, 95.52, 91.20),
                _decoder_row("segnext", "SegNeXt-Head", 3.87, 28.09, 65.24, 81.63, 93.72, 80.87),
                _decoder_row("upernet", "UperNet-Head", 0.97, 23.04, 66.74, 80.63, 94.57, 85.79),
            ),
        ),
    }
)


def markdown(table: PaperTable, rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    """Return a table with ours beside the paper's, in percent.

    Args:
        table: of the paper.
        rows: as in the JSON: `row`, `mean`, `stdev`, `seeds_run`, `seeds`, `paper_percent` and, where counted,
            `decoder_parameters_m` and `gflops` with the paper's in `paper_counts`.
        notes: sentences below the table.
    """
    counted = any("gflops" in row for row in rows)
    headings = [HEADINGS[metric] for metric in table.also]
    for metric in table.metrics:
        headings += [*(HEADINGS[ours] for ours in OURS[metric]), f"paper: {PAPER_HEADINGS[metric]}"]
    if counted:
        headings += ["decoder, M", "paper", "GFLOPs at 224 px", "paper"]
    lines = [f"# {table.title}", ""]
    lines += ["| row | seeds | " + " | ".join(headings) + " |", "|---|---:|" + "---:|" * len(headings)]
    for row in rows:
        cells = [_ours(row, metric) for metric in table.also]
        for metric in table.metrics:
            cells += [*(_ours(row, ours) for ours in OURS[metric]), _number(row["paper_percent"], metric, 2)]
        if counted:
            for count, digits in (("decoder_parameters_m", 3), ("gflops", 2)):
                cells += [_number(row, count, digits), _number(row["paper_counts"], count, 2)]
        lines.append(f"| {row['row']} | {row['seeds_run']} of {row['seeds']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def _ours(row: Mapping[str, Any], metric: str) -> str:
    if not row["seeds_run"]:
        return NOT_RUN
    if metric not in row["mean"]:
        return "undefined"
    spread = f" ± {100 * row['stdev'][metric]:.2f}" if metric in row["stdev"] else ""
    return f"{100 * row['mean'][metric]:.2f}{spread}"


def _number(values: Mapping[str, Any] | None, name: str, digits: int) -> str:
    value = None if values is None else values.get(name)
    return "-" if value is None else f"{value:.{digits}f}"
