"""The command `kda-train fit`: its options, and the run of both phases that they ask for."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import Any, Final

from .check import add_skip_check, checked_data
from .options import add_data, add_loggers, configured_data
from .report import add_skip_report, end_with_report, require_reportable

# Options that are worth a word on the command line; everything else is said in --config.
NAMED_OPTIONS: Final = ("teacher", "teacher_weights", "method", "discriminator", "discriminator_weights")
DISTILL_RATES: Final = ("student_rate", "discriminator_rate")
SEGMENT_RATES: Final = ("backbone_rate", "decoder_rate")
DISTILL_OPTIONS: Final = (*NAMED_OPTIONS, *DISTILL_RATES)
LENGTHS: Final = ("epochs", "batch", "crop_px")
SHARED_OPTIONS: Final = (
    *("variant", "seed", "precision", "memory_format", "device", "workers", "threads", "loggers"),
    *LENGTHS,
)


def add_commands(commands: Any) -> None:
    """Add the command to the parser's."""
    fit = commands.add_parser("fit", help="both phases: distil the backbone, then learn to segment")
    add_data(fit, configurable=True)
    add = fit.add_argument
    add(
        "--images",
        type=Path,
        metavar="DATA",
        help="what phase 1 looks at; default: --data's train split",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder for distill/ and segment/")
    add("--resume", action="store_true", help="go on where the run stopped")
    add("--cache", type=Path, metavar="DIR", help="keep the teacher's features there; needs views in [distill]")
    add("--variant", help="size of the student; default: base")
    for name in NAMED_OPTIONS:
        add(f"--{name.replace('_', '-')}", help="as in kda-train distill")
    for name in LENGTHS:
        add(f"--{name.replace('_', '-')}", type=int, help="of both phases; one of them: in --config")
    for name in (*DISTILL_RATES, *SEGMENT_RATES):
        phase = "distill" if name in DISTILL_RATES else "segment"
        rates = ("FIRST", "LAST")
        add(f"--{name.replace('_', '-')}", type=float, nargs=2, metavar=rates, help=f"as in kda-train {phase}")
    for name in ("precision", "memory-format", "device"):
        add(f"--{name}", help="as in kda-train segment")
    for name in ("workers", "threads"):
        add(f"--{name}", type=int, help="as in kda-train segment")
    add_loggers(fit)
    add_skip_check(fit)
    add_skip_report(fit)
    fit.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> None:
    """Run both phases as the options say."""
    from kda_edge.networks.by_name import require_network
    from kda_edge.progress.progress_bar import ProgressBar

    from ..configuration.config_file import read_tables
    from ..data.unlabelled import load_images
    from ..distillation.distillation_models import require_frozen_weights
    from ..fit import fit, fit_config
    from ..loops.devices import resolve_device
    from ..loops.loggers import require_loggers
    from ..loops.output_places import require_folder

    tables = read_tables(options.config)
    first, second = (
        {name: getattr(options, name) for name in (*SHARED_OPTIONS, *own) if getattr(options, name) is not None}
        for own in (DISTILL_OPTIONS, SEGMENT_RATES)
    )
    config = fit_config(tables, {"distill": first, "segment": second}, options.config)
    require_network(config.segment.variant)
    resolve_device(config.segment.device)
    require_loggers(config.segment.loggers)
    require_folder(options.out, "--out")
    require_reportable(skip=options.skip_report)
    if options.cache:
        require_folder(options.cache, "--cache")
    require_frozen_weights(config.distill)
    request = configured_data(options, tables["data"], config.segment.seed)
    images = load_images(dataclasses.replace(request, path=options.images, root=None) if options.images else request)
    settings = config.segment
    data, report = checked_data(
        request, skip=options.skip_check, batch=settings.batch, crop_px=settings.crop_px, images=images
    )
    logging.info("%d images for phase 1", len(images.samples["train"]))
    logging.info("%s for phase 2", {split: len(samples) for split, samples in data.samples.items()})
    with ProgressBar() as progress:
        best = fit(
            config,
            images,
            data,
            options.out,
            command=command,
            resume=options.resume,
            cache=options.cache,
            progress=progress,
        )
    print(best)
    end_with_report(best.parent, data, report, settings.device, skip=options.skip_report)
