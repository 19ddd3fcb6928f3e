"""Paste measured figures into the documents, so that no number is typed by hand.

    python -m kda_edge.benchmarks.documents.training_tables          write them
    python -m kda_edge.benchmarks.documents.training_tables --check  fail if a document says otherwise

A document marks where a table goes with `<!-- table: NAME -->` and `<!-- end -->`; NAME is a file of
`benchmarks/results/` without its ending.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from kda_edge.commands import ended

from .marked_tables import fill_documents

DOCUMENTS: Final = (
    "README.md",
    "docs/model_card.md",
    "docs/distillation.md",
    "docs/fine-tuning.md",
    "docs/paper.md",
    "docs/precision.md",
    "docs/adr/0003-folded-head.md",
)
RESULTS: Final = Path("benchmarks/results")


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 where `--check` finds a document that differs from the results."""
    return ended("training_tables", lambda: fill_documents(argv, __doc__, DOCUMENTS, "table", table))


def table(name: str) -> str:
    """Return the table of a result."""
    return TABLES[name](json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def accuracy_table(result: Mapping[str, Any]) -> str:
    """Return the metrics of `kda-train evaluate --json`, a row a group."""
    columns = ("iou", "precision", "recall", "f1", "mean_iou", "overall_accuracy")
    lines = [
        "| held-out group | images | Mpx | IoU | precision | recall | F1 | mIoU | OA |",
        "|---|" + "---:|" * (len(columns) + 2),
    ]
    for name, metrics in sorted(result["metrics"].items(), key=lambda item: (item[0] == "all", item[0])):
        images = result["images"][name] or sum(n for g, n in result["images"].items() if _below(g, name))
        cells = [f"{metrics[column]:.3f}" if column in metrics else "-" for column in columns]
        lines.append(f"| {name} | {images} | {result['pixels'][name] / 1e6:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fine_tuning_table(result: Mapping[str, Any]) -> str:
    """Return what a few images of a new place bring, a row a run."""
    columns = ("iou", "precision", "recall", "f1")
    lines = ["| start | labelled images (train + val) | steps | threshold | IoU | precision | recall | F1 |"]
    lines.append("|---|---:|---:|---:|" + "---:|" * len(columns))
    for row in result["rows"]:
        images = f"{row['images']} ({row['train']} + {row['val']})" if row["images"] else "0"
        cells = [f"{row['metrics'][column]:.3f}" for column in columns]
        lines.append(f"| {row['start']} | {images} | {row['steps']} | {row['threshold']:g} | {' | '.join(cells)} |")
    seeds = "one seed" if len(result["seeds"]) == 1 else f"{len(result['seeds'])} seeds"
    return "\n".join([*lines, "", f"On {result['test_images']} other images of {result['data']}; {seeds}."])


def folded_head_table(result: Mapping[str, Any]) -> str:
    """Return the times of both orders of steps, a row a variant."""
    lines = ["| student | plain, ms | folded, ms | plain / folded | largest difference of the logit |"]
    lines.append("|---|---:|---:|---:|---:|")
    lines.extend(
        f"| {row['variant']} | {row['plain_ms']:.0f} | {row['folded_ms']:.0f} | {row['ratio']:.2f} | "
        f"{row['max_abs_logit']:.1e} |"
        for row in result["rows"]
    )
    facts = result["machine"]
    lines.append("")
    lines.append(
        f"{result['tile_px']} px, float32, PyTorch {facts['torch']}, {facts['cores']} cores of {facts['processor']} "
        f"({facts['instructions']}), median of {result['rounds']} alternating rounds."
    )
    return "\n".join(lines)


def distillation_table(result: Mapping[str, Any]) -> str:
    """Return mean and spread over seeds, a row a method and network; cells that have not run are named as such."""
    rows = result["rows"]
    groups = list(rows[0]["iou"])
    lines = [
        "| phase 1 | network | seeds | " + " | ".join(groups) + " | mean | mean, each at its own best threshold |",
        "|---|---|---|" + "---:|" * (len(groups) + 2),
    ]
    for method, network in dict.fromkeys((row["method"], row["network"]) for row in [*rows, *result["not_run"]]):
        mine = [row for row in rows if (row["method"], row["network"]) == (method, network)]
        seeds = ", ".join(str(row["seed"]) for row in mine) or "not run"
        cells = [_spread([row["iou"][group] for row in mine]) for group in groups]
        cells.append(_spread([row["mean_iou_of_groups"] for row in mine]))
        cells.append(_spread([row["mean_iou_of_groups_at_best_threshold"] for row in mine]))
        lines.append(f"| {method} | {network} | {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def feature_cache_table(result: Mapping[str, Any]) -> str:
    """Return the seconds of each epoch, and the first against the median of the later ones."""
    seconds = result["epoch_seconds"]
    lines = ["| " + " | ".join(f"epoch {k}" for k in range(1, len(seconds) + 1)) + " | first / later |"]
    lines.append("|" + "---:|" * (len(seconds) + 1))
    lines.append("| " + " | ".join(f"{value:.1f} s" for value in seconds) + f" | {result['ratio']:.1f} |")
    facts = result["machine"]
    lines += [
        "",
        f"{result['images']} crops of {result['crop_px']} px, teacher {result['teacher']}, student "
        f"{result['variant']}; PyTorch {facts['torch']}, {facts['cores']} cores of {facts['processor']}.",
    ]
    return "\n".join(lines)


def activation_memory_table(result: Mapping[str, Any]) -> str:
    """Return what a step keeps, a row each with and without recomputation."""
    lines = [
        "| `--recompute` | kept for the backward pass, GB | with weights, gradients and AdamW, GB |",
        "|---|---:|---:|",
    ]
    lines.extend(
        f"| {'yes' if row['recompute'] else 'no'} | {row['kept_gb']:.1f} | {row['with_weights_gb']:.1f} |"
        for row in result["rows"]
    )
    what = f"{result['variant']}, batch {result['batch']}, {result['crop_px']} px, {result['precision']}"
    return "\n".join([*lines, "", f"{what}; counted with PyTorch {result['machine']['torch']}, not measured on a GPU."])


def precision_table(result: Mapping[str, Any]) -> str:
    """Return size, difference, IoU and CPU latency, a row a precision; what a gate refused stands below."""
    rows, facts = result["rows"], result["machine"]
    labelled = any(row["iou"] is not None for row in rows)
    lines = ["| precision | size, MB | largest difference | mean difference | pixels that change class |"]
    lines[0] += " IoU | IoU of PyTorch |" if labelled else ""
    lines[0] += " CPU p50, ms |"
    lines.append("|---|" + "---:|" * (lines[0].count("|") - 2))
    for row in rows:
        cells = [f"{row['size_bytes'] / 1e6:.1f}", f"{row['max_abs']:.1e}", f"{row['mean_abs']:.1e}"]
        cells.append(f"{row['class_changes']:.3%}")
        if labelled:
            cells += [f"{row['iou']:.4f}", f"{row['reference_iou']:.4f}"]
        cells.append(f"{row['cpu_p50_ms']:.1f}")
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    what = f"student {rows[0]['variant']}, tile {rows[0]['tile_px']} px; differences on {rows[0]['tiles']} tiles"
    what += f", IoU on {rows[0]['images']} images" if labelled else ""
    lines += [
        "",
        f"{what}; one tile at a time in ONNX Runtime {facts['onnxruntime']} on {facts['cores']} cores of "
        f"{facts['processor']} ({facts['instructions']}), median of {result['rounds']} alternating runs.",
    ]
    for row in rows:
        if row["islands"]:
            lines += ["", f"{row['name']} keeps out: {', '.join(row['islands'])}."]
        if row["refused"]:
            lines += ["", f'{row["name"]} was refused, and is measured all the same: "{row["refused"]}".']
    return "\n".join(lines)


def _below(group: str, name: str) -> bool:
    return "/" in group and (name == "all" or group.startswith(f"{name}/"))


TABLES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = MappingProxyType(
    {
        "student_lite0": accuracy_table,
        "student_lite0_once": accuracy_table,
        "student_nano": accuracy_table,
        "folded_head": folded_head_table,
        "fine_tuning": fine_tuning_table,
        "nano_distillation": distillation_table,
        "feature_cache": feature_cache_table,
        "activation_memory": activation_memory_table,
        "precision_nano": precision_table,
        "precision_base": precision_table,
    }
)

if __name__ == "__main__":
    raise SystemExit(main())
