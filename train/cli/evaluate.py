"""The commands `kda-train evaluate` and `kda-train statistics`: what is measured on a split, and printed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kda_edge.errors import UsageError

from .options import add_data, data_request

if TYPE_CHECKING:
    from kda_edge.manifest import InputContract
    from kda_edge.networks.checkpoint import Checkpoint

    from ..data.data_file import DataSet


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
    add("--report", type=Path, metavar="FILE", help="write a report for people there, .html, with curves and examples")
    add("--record", action="store_true", help="write metrics and threshold into the checkpoint, for export")
    evaluate.set_defaults(run=_evaluate)

    statistics = commands.add_parser("statistics", help="mean and std of the training imagery, for [input]")
    add_data(statistics)
    statistics.set_defaults(run=_statistics)


def _evaluate(options: argparse.Namespace, command: str) -> None:
    from kda_edge.networks.checkpoint import read_checkpoint, weights_digest
    from kda_edge.progress.progress_bar import ProgressBar

    from ..data.data_file import load_data
    from ..figures.panel_sheet import require_place
    from ..loops.devices import resolve_device
    from ..loops.metric_reports import record_metrics, table, write_json
    from ..loops.output_places import require_file
    from ..run_report.charts import require_matplotlib
    from ..run_report.judged_split import cautions, judge_split, with_examples
    from ..run_report.run_report import evaluation_report, write_report

    require_file(options.json, "--json")
    if options.report:
        require_place(options.report, ".html")
        require_matplotlib()
    require_file(options.ckpt if options.record else None, "--record")
    if options.threshold is not None and not 0 < options.threshold < 1:
        raise UsageError(f"--threshold must lie between 0 and 1, not {options.threshold:g}")
    checkpoint = read_checkpoint(options.ckpt)
    data = load_data(data_request(options))
    samples = data.samples[options.split]
    if not samples:
        raise UsageError(f"no samples are in the {options.split} split of {options.data}")
    _require_same_pixels(options, checkpoint, data)
    checkpoint = dataclasses.replace(
        checkpoint,
        tile_px=checkpoint.tile_px if options.tile_px is None else options.tile_px,
        threshold=checkpoint.threshold if options.threshold is None else options.threshold,
    )
    device = resolve_device(options.device)
    checkpoint.student.to(device)
    with ProgressBar() as progress:
        judged = judge_split(
            checkpoint, data, options.split, device=device, tune=options.tune_threshold, progress=progress
        )
    evaluation, threshold = judged.evaluation, judged.threshold
    counts = evaluation.counts(threshold)
    print(f"threshold {threshold}\n{table(counts)}")
    if judged.tuned:
        for line in cautions(judged, chose_the_epoch=False):
            logging.warning("%s", line)
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
                "tile_px": checkpoint.tile_px,
                "images": {name: sum(f"{s.source.name}/{s.group}" == name for s in samples) for name in counts},
                "metrics": {name: value.as_dict() for name, value in counts.items()},
                "at_best_threshold": evaluation.at_best_threshold(),
                "pixels": {name: value.pixels for name, value in counts.items()},
            },
        )
    if options.report:
        shown = with_examples(judged, checkpoint, data, device)
        write_report(options.report, evaluation_report(checkpoint, options.ckpt, shown, device))


def _require_same_pixels(options: argparse.Namespace, checkpoint: Checkpoint, data: DataSet) -> None:
    """Refuse imagery of another kind than the student's; another ground sampling distance changes no pixel."""
    from ..figures.compared_models import described, same_pixels

    if not checkpoint.declared:
        return
    if not same_pixels(checkpoint.input, data.input):
        raise UsageError(
            f"{options.ckpt} was trained on {described(checkpoint.input)} and {options.data} is "
            f"{described(data.input)}; judge it on imagery of its own kind"
        )
    if checkpoint.input.gsd_m != data.input.gsd_m:
        logging.info(
            "ground sampling distance: %s was trained on %s, %s declares %s",
            *(options.ckpt, _metres(checkpoint.input), options.data, _metres(data.input)),
        )


def _metres(contract: InputContract) -> str:
    return "none" if contract.gsd_m is None else f"{contract.gsd_m[0]:g} to {contract.gsd_m[1]:g} m"


def _statistics(options: argparse.Namespace, command: str) -> None:
    from ..data.band_statistics import band_statistics
    from ..data.data_file import load_data

    data = load_data(data_request(options, need_statistics=False))
    mean, std = band_statistics(data.samples["train"], data.input)
    print("[input]")
    print(f"mean = {json.dumps([round(value, 4) for value in mean])}")
    print(f"std = {json.dumps([round(value, 4) for value in std])}")
