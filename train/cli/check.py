"""The command `kda-train check`: what imagery holds, decoded once; and the same report at the start of a run."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kda_edge.errors import UsageError

from .options import add_data, data_request

if TYPE_CHECKING:
    from ..data.data_file import DataRequest, DataSet
    from ..data_report.data_report import DataReport


def add_commands(commands: Any) -> None:
    """Add the command to the parser's."""
    check = commands.add_parser(
        "check",
        help="decode all images and masks, and report what a run would learn from",
        description="Decode every image and mask once and report sizes, values, landslide by split and group, images "
        "that share ground across splits, warnings and errors. What was decoded is kept under a digest of the files, "
        "so that the next check, or run, is quick. Exit code 1: training should not begin.",
    )
    add_data(check)
    add = check.add_argument
    add("--batch", type=int, default=16, help="of the run that it is for; default 16")
    add("--crop-px", type=int, default=512, help="side of its crops; default 512")
    add("--json", type=Path, metavar="FILE", help="write the report there as well, with all pairs and groups")
    check.set_defaults(run=_check)


def add_skip_check(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves the report at the start of a run out."""
    parser.add_argument(
        "--skip-check", action="store_true", help="begin without decoding everything, whatever it would find"
    )


def checked_data(
    request: DataRequest, *, skip: bool, batch: int, crop_px: int, images: DataSet | None = None
) -> tuple[DataSet, DataReport | None]:
    """Return the imagery of a run and its report, None where it is skipped; the first process says what it holds.

    Args:
        request: for it.
        skip: whether nothing is decoded, as `--skip-check` says.
        batch: crops a step.
        crop_px: side of the crops.
        images: what phase 1 looks at.

    Raises:
        DataError: imagery that no run should begin with.
    """
    from kda_edge.progress.progress_bar import ProgressBar

    from ..data.data_file import load_data
    from ..data_report.data_report import data_report
    from ..data_report.findings import RunPlan
    from ..data_report.report_text import lines_of

    if skip or os.environ.get("RANK", "0") != "0":
        return load_data(request), None
    with ProgressBar() as progress:
        report, data = data_report(request, plan=RunPlan(batch, crop_px), images=images, progress=progress)
    for line in lines_of(report, brief=True):
        logging.info("%s", line)
    report.require_learnable()
    return data, report


def _check(options: argparse.Namespace, command: str) -> None:
    from kda_edge.progress.progress_bar import ProgressBar

    from ..data_report.data_report import data_report
    from ..data_report.findings import RunPlan
    from ..data_report.report_text import lines_of
    from ..loops.metric_reports import write_json

    if min(options.batch, options.crop_px) < 1:
        raise UsageError("--batch and --crop-px must be 1 or more")
    request = data_request(options, need_statistics=False)
    with ProgressBar() as progress:
        report, _ = data_report(request, plan=RunPlan(options.batch, options.crop_px), progress=progress)
    for line in lines_of(report):
        print(line)
    if options.json:
        write_json(options.json, {"command": command, **dataclasses.asdict(report)})
    report.require_learnable()
