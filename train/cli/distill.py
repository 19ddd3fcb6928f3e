"""The command `kda-train distill`: its options, and the run that they ask for."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from ..distillation.config import ALIGNMENTS, BALANCES, DINOV2_B, DINOV2_L, DOORS, METHODS, DistillConfig
from .options import add_data, add_machine, data_request, settings_from


def add_commands(commands: Any) -> None:
    """Add the command to the parser's."""
    distill = commands.add_parser("distill", help="let a frozen vision model teach the backbone (phase 1)")
    add_data(distill)
    add = distill.add_argument
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for distilled.pt, last.pt and the log",
    )
    add("--resume", action="store_true", help="go on from last.pt in the folder")
    add("--variant", default="base", help="nano, tiny, base (the paper's), large, xlarge or huge")
    add(
        "--teacher",
        default=DINOV2_L,
        metavar="NAME",
        help="of timm, or `student`; default: %(default)s",
    )
    add("--teacher-weights", default="", metavar="FILE", help="its state dict; default: fetched by name")
    add("--teacher-px", type=int, default=0, help="enlarge crops to this side for the teacher; default: --crop-px")
    add("--method", choices=METHODS, default="kda", help="kda: with a discriminator; kd: without")
    add(
        "--discriminator",
        default=DINOV2_B,
        metavar="NAME",
        help="the frozen model of timm that it judges through; default: %(default)s",
    )
    add("--discriminator-weights", default="", metavar="FILE", help="its state dict; default: fetched by name")
    add(
        "--doors",
        choices=DOORS,
        default="shared",
        help="input layers of the discriminator: shared by teacher and student, or one a role",
    )
    add("--pseudo-px", type=int, default=0, help="side of the image that it is shown; default: --crop-px")
    add("--weights", type=float, nargs=2, default=(0.6, 0.4), metavar=("KL", "MSE"), help="of the two losses")
    add(
        "--loss-weights",
        dest="balance",
        choices=BALANCES,
        default="fixed",
        help="adaptive: --weights of the gradients",
    )
    add("--align", choices=ALIGNMENTS, default="last", help="stages: intermediate maps teach as well")
    add("--temperature", type=float, default=5.0)
    add("--epochs", type=int, default=200)
    add("--batch", type=int, default=8, help="over all processes")
    add("--crop-px", type=int, default=224, help="side of the crops, a multiple of 32")
    for name, default in (("student", (5e-5, 5e-8)), ("discriminator", (5e-6, 5e-9))):
        text = f"learning rates of the {name}; default: the paper's, {default[0]:g} to {default[1]:g}"
        add(f"--{name}-rate", type=float, nargs=2, default=default, metavar=("FIRST", "LAST"), help=text)
    add("--warmup-epochs", type=int, default=0)
    add("--weight-decay", type=float, default=0.01)
    add("--clip-norm", type=float, default=0.0, help="largest gradient norm of the student; 0: not limited")
    add("--scale", type=float, nargs=2, default=(0.75, 1.5), metavar=("LOW", "HIGH"), help="random magnification")
    add("--colour", type=float, default=0.4, help="strength of the colour jitter, 0 to 1")
    add("--views", type=int, default=0, help="crops an image that come again, epoch by epoch; 0: always new ones")
    add("--cache", type=Path, metavar="DIR", help="keep the teacher's features there; needs --views")
    add_machine(distill)
    distill.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> None:
    """Distil as the options say."""
    from ..data.unlabelled import load_images
    from ..distillation.distill import distill
    from ..distillation.distillation_models import require_variant
    from ..loops.devices import resolve_device
    from ..loops.output_places import require_folder
    from .progress_bar import ProgressBar

    del command
    config = settings_from(DistillConfig, options)
    require_variant(config.variant)
    resolve_device(config.device)
    require_folder(options.out, "--out")
    if options.cache:
        require_folder(options.cache, "--cache")
    data = load_images(data_request(options))
    logging.info("%d images", len(data.samples["train"]))
    with ProgressBar() as progress:
        path = distill(config, data, options.out, resume=options.resume, cache=options.cache, progress=progress)
    print(path)
