"""The command `kda-train fit`: its options, and the run of both phases that they ask for."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import Any, Final

from .check import add_skip_check, checked_data
from .options import add_data, data_request

# Options that are worth a word on the command line; everything else is said in --config.
DISTILL_OPTIONS: Final = ("teacher", "teacher_weights", "method", "discriminator", "discriminator_weights")
SHARED_OPTIONS: Final = ("variant", "precision", "memory_format", "device", "workers", "threads")


def add_commands(commands: Any) -> None:
    """Add the command to the parser's."""
    fit = commands.add_parser("fit", help="both phases: distil the backbone, then learn to segment")
    add_data(fit)
    add = fit.add_argument
    add(
        "--images",
        type=Path,
        metavar="DATA",
        help="what phase 1 looks at; default: --data's train split",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder for distill/ and segment/")
    add("--resume", action="store_true", help="go on where the run stopped")
    add("--config", type=Path, metavar="FILE", help="TOML with [distill] and [segment]; default: the paper's settings")
    add("--cache", type=Path, metavar="DIR", help="keep the teacher's features there; needs views in [distill]")
    add("--variant", help="size of the student; default: base")
    for name in DISTILL_OPTIONS:
        add(f"--{name.replace('_', '-')}", help="as in kda-train distill")
    for name in ("precision", "memory-format", "device"):
        add(f"--{name}", help="as in kda-train segment")
    for name in ("workers", "threads"):
        add(f"--{name}", type=int, help="as in kda-train segment")
    add_skip_check(fit)
    fit.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> None:
    """Run both phases as the options say."""
    from kda_edge.networks.by_name import require_network

    from ..data.unlabelled import load_images
    from ..fit import fit, read_fit_config
    from ..loops.devices import resolve_device
    from ..loops.output_places import require_folder
    from .progress_bar import ProgressBar

    shared = {name: getattr(options, name) for name in SHARED_OPTIONS if getattr(options, name) is not None}
    shared["seed"] = options.seed
    own = {name: getattr(options, name) for name in DISTILL_OPTIONS if getattr(options, name) is not None}
    config = read_fit_config(options.config, {"distill": {**shared, **own}, "segment": shared})
    require_network(config.segment.variant)
    resolve_device(config.segment.device)
    require_folder(options.out, "--out")
    if options.cache:
        require_folder(options.cache, "--cache")
    request = data_request(options)
    images = load_images(dataclasses.replace(request, path=options.images, root=None) if options.images else request)
    data = checked_data(options, batch=config.segment.batch, crop_px=config.segment.crop_px, images=images)
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
