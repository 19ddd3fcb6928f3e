"""The command `kda-train distill`: its options, and the run that they ask for."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..distillation.config import ALIGNMENTS, BALANCES, DINOV2_B, DINOV2_L, DOORS, METHODS, DistillConfig
from .options import add_data, add_machine, configured_data, settings_from


def add_commands(commands: Any) -> None:
    """Add the command to the parser's."""
    distill = commands.add_parser("distill", help="let a frozen vision model teach the backbone (phase 1)")
    add_data(distill, configurable=True)
    add = distill.add_argument
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for distilled.pt, last.pt and the log",
    )
    add("--resume", action="store_true", help="go on from last.pt in the folder")
    add("--variant", help="nano, tiny, base (the default, and the paper's), large, xlarge or huge")
    add("--teacher", metavar="NAME", help=f"of timm, or `student`; default: {DINOV2_L}")
    add("--teacher-weights", metavar="FILE", help="its state dict; default: fetched by name")
    add("--teacher-px", type=int, help="enlarge crops to this side for the teacher; default: --crop-px")
    add("--method", choices=METHODS, help="kda, the default: with a discriminator; kd: without")
    add(
        "--discriminator",
        metavar="NAME",
        help=f"the frozen model of timm that it judges through; default: {DINOV2_B}",
    )
    add("--discriminator-weights", metavar="FILE", help="its state dict; default: fetched by name")
    add(
        "--doors",
        choices=DOORS,
        help="input layers of the discriminator: shared by teacher and student, the default, or one a role",
    )
    add("--pseudo-px", type=int, help="side of the image that it is shown; default: --crop-px")
    add("--weights", type=float, nargs=2, metavar=("KL", "MSE"), help="of the two losses; default 0.6 0.4")
    add(
        "--loss-weights",
        dest="balance",
        choices=BALANCES,
        help="fixed, the default; adaptive: --weights of the gradients",
    )
    add("--align", choices=ALIGNMENTS, help="last, the default; stages: intermediate maps teach as well")
    add("--temperature", type=float, help="of the divergence; default 5")
    add("--epochs", type=int, help="default 200")
    add("--batch", type=int, help="over all processes; default 8")
    add("--crop-px", type=int, help="side of the crops, a multiple of 32; default 224")
    for name, default in (("student", (5e-5, 5e-8)), ("discriminator", (5e-6, 5e-9))):
        text = f"learning rates of the {name}; default: the paper's, {default[0]:g} to {default[1]:g}"
        add(f"--{name}-rate", type=float, nargs=2, metavar=("FIRST", "LAST"), help=text)
    add("--warmup-epochs", type=int, help="with a rising rate; default 0")
    add("--weight-decay", type=float, help="default 0.01")
    add("--clip-norm", type=float, help="largest gradient norm of the student; default 0: not limited")
    add("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"), help="random magnification; default 0.75 1.5")
    add("--colour", type=float, help="strength of the colour jitter, 0 to 1; default 0.4")
    add("--views", type=int, help="crops an image that come again, epoch by epoch; default 0: always new ones")
    add("--cache", type=Path, metavar="DIR", help="keep the teacher's features there; needs --views")
    add_machine(distill)
    distill.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> None:
    """Distil as the options say."""
    from kda_edge.progress.progress_bar import ProgressBar

    from ..configuration.config_file import read_tables
    from ..data.unlabelled import load_images
    from ..distillation.distill import distill
    from ..distillation.distillation_models import require_frozen_weights, require_variant
    from ..loops.devices import resolve_device
    from ..loops.loggers import require_loggers
    from ..loops.output_places import require_folder

    tables = read_tables(options.config)
    config = config_from(options, tables["distill"])
    require_variant(config.variant)
    resolve_device(config.device)
    require_loggers(config.loggers)
    require_folder(options.out, "--out")
    if options.cache:
        require_folder(options.cache, "--cache")
    require_frozen_weights(config)
    data = load_images(configured_data(options, tables["data"], config.seed))
    logging.info("%d images", len(data.samples["train"]))
    with ProgressBar() as progress:
        path = distill(
            config,
            data,
            options.out,
            command=command,
            resume=options.resume,
            cache=options.cache,
            progress=progress,
        )
    print(path)


def config_from(options: argparse.Namespace, table: Mapping[str, Any]) -> DistillConfig:
    """Return the settings that a table and, over it, the options say.

    Args:
        options: of the command.
        table: `[distill]` of a configuration file.

    Raises:
        UsageError: settings that can't be right.
    """
    from ..configuration.config_file import settings_from_table

    return settings_from(settings_from_table(DistillConfig, table, where="distill", path=options.config), options)
