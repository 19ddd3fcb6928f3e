"""The commands `kda-train evaluate` and `kda-train statistics`: what is measured on a split, and printed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kda_edge.errors import UsageError

from .options import add_data, data_request


def add_commands(commands: Any) -> None:
    """Add the commands to the parser's."""
    evaluate = commands.add_parser("evaluate", help="metrics of a student on a split, by group")
    add_data(evaluate)
    add = evaluate.add_argument
    add("--ckpt", type=Path, required=True)
    add("--split", choices=("train", "val", "test"), default="test")
    choice = evaluate.add_mutually_exclusive_group()
    choice.add_argument("--threshold", type=float, help="instead of the checkpoint's")
    choice.add_argument(
        "--tune-threshold", action="store_true", help="the one with the best landslide IoU here, mean over sources"
    )
    add("--tile-px", type=int, help="instead of the checkpoint's")
    add("--device", default="auto")
    add("--json", type=Path, metavar="FILE", help="write the metrics there as well")
    add("--record", action="store_true", help="write metrics and threshold into the checkpoint, for export")
    evaluate.set_defaults(run=_evaluate)

    statistics = commands.add_parser("statistics", help="mean and std of the training imagery, for [input]")
    add_data(statistics)
    statistics.set_defaults(run=_statistics)


def _evaluate(options: argparse.Namespace, command: str) -> None:
    from kda_edge.metrics import best_threshold
    from kda_edge.networks.checkpoint import read_checkpoint, weights_digest
    from kda_edge.tiling.tile_grid import default_overlap_px

    from ..data.data_file import load_data
    from ..loops.devices import resolve_device
    from ..loops.metric_reports import record_metrics, table, write_json
    from ..loops.output_places import require_file
    from ..segmentation.evaluate import evaluate
    from .progress_bar import ProgressBar

    require_file(options.json, "--json")
    require_file(options.ckpt if options.record else None, "--record")
    if options.threshold is not None and not 0 < options.threshold < 1:
        raise UsageError(f"--threshold must lie between 0 and 1, not {options.threshold:g}")
    checkpoint = read_checkpoint(options.ckpt)
    data = load_data(data_request(options))
    samples = data.samples[options.split]
    if not samples:
        raise UsageError(f"no samples are in the {options.split} split of {options.data}")
    if data.input != checkpoint.input and checkpoint.declared:
        raise UsageError(
            f"{options.data} declares other imagery than {options.ckpt} was trained on: "
            f"{data.input} instead of {checkpoint.input}"
        )
    tile_px = checkpoint.tile_px if options.tile_px is None else options.tile_px
    threshold = checkpoint.threshold if options.threshold is None else options.threshold
    device = resolve_device(options.device)
    with ProgressBar() as progress:
        evaluation = evaluate(
            checkpoint.student.to(device),
            samples,
            data.input,
            tile_px=tile_px,
            overlap_px=default_overlap_px(tile_px),
            device=device,
            progress=lambda done, total: progress("images", done, total),
        )
    if options.tune_threshold:
        threshold = best_threshold(evaluation.by_source())
    counts = evaluation.counts(threshold)
    print(f"threshold {threshold}\n{table(counts)}")
    if options.record:
        measured = {f"{options.split} {name}": value.as_dict() for name, value in counts.items()}
        record_metrics(options.ckpt, threshold, measured)
    if options.json:
        write_json(
            options.json,
            {
                "command": command,
                "checkpoint_sha256": weights_digest(checkpoint.student),
                "variant": checkpoint.student.variant,
                "split": options.split,
                "threshold": threshold,
                "tile_px": tile_px,
                "images": {name: sum(f"{s.source.name}/{s.group}" == name for s in samples) for name in counts},
                "metrics": {name: value.as_dict() for name, value in counts.items()},
                "at_best_threshold": evaluation.at_best_threshold(),
                "pixels": {name: value.pixels for name, value in counts.items()},
            },
        )


def _statistics(options: argparse.Namespace, command: str) -> None:
    from ..data.band_statistics import band_statistics
    from ..data.data_file import load_data

    data = load_data(data_request(options, need_statistics=False))
    mean, std = band_statistics(data.samples["train"], data.input)
    print("[input]")
    print(f"mean = {json.dumps([round(value, 4) for value in mean])}")
    print(f"std = {json.dumps([round(value, 4) for value in std])}")
