"""The command `kda-train segment`: its options, and the run that they ask for."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .check import add_skip_check, checked_data
from .options import add_data, add_machine, settings_from

if TYPE_CHECKING:
    from ..segmentation.config import SegmentConfig

FRESH_BACKBONE_RATE: Final = 1e-4  # below, a note is printed; the bundled student's is 8e-4


def add_commands(commands: Any) -> None:
    """Add the command to the parser's."""
    segment = commands.add_parser("segment", help="learn to segment from images and masks (phase 2)")
    add_data(segment)
    add = segment.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for best.pt, last.pt and the TensorBoard log")
    add("--resume", action="store_true", help="go on from last.pt in the folder")
    add(
        "--variant",
        help="nano, tiny, base (the paper's), large, xlarge or huge; base+unet: another head; deeplabv3plus: a peer; "
        "tf_efficientnet_lite0+dcf: a backbone of timm; "
        "default: that of --backbone or --init, else base",
    )
    add("--backbone", default="", metavar="FILE", help="distilled.pt of kda-train distill, for the encoder")
    add("--init", default="", metavar="CKPT", help="start from this checkpoint instead of fresh weights")
    add("--encoder-weights", default="", metavar="FILE", help="of a peer's or timm's encoder: imagenet, or a file")
    add("--epochs", type=int, default=200)
    add("--batch", type=int, default=16)
    add("--crop-px", type=int, default=512, help="side of the training crops, a multiple of 32")
    add("--finish-px", type=int, help="side of the crops in the last --finish-epochs, and of the tiles in use")
    add("--finish-epochs", type=int, default=0)
    for name, default in (("backbone", (5e-6, 5e-9)), ("decoder", (5e-4, 5e-6))):
        text = f"learning rates of the {name}; default: the paper's, {default[0]:g} to {default[1]:g}"
        add(f"--{name}-rate", type=float, nargs=2, default=default, metavar=("FIRST", "LAST"), help=text)
    add("--warmup-epochs", type=int, default=0)
    add("--weight-decay", type=float, default=0.01)
    add("--clip-norm", type=float, default=0.0, help="largest gradient norm; 0: not limited")
    add("--average", type=float, default=0.0, metavar="DECAY", help="average the weights, e.g. 0.999; 0: don't")
    add("--evaluate-every", type=int, default=1, metavar="N", help="judge every N-th epoch on the val groups")
    add("--patience", type=int, default=0, metavar="N", help="end after N epochs without a better val IoU; 0: never")
    add("--loss", type=float, nargs=3, default=(0.4, 0.6, 0.0), metavar=("CE", "FOCAL", "DICE"))
    add("--scale", type=float, nargs=2, default=(0.75, 1.5), metavar=("LOW", "HIGH"), help="random magnification")
    add("--colour", type=float, default=0.4, help="strength of the colour jitter, 0 to 1")
    add_machine(segment)
    add_skip_check(segment)
    segment.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> None:
    """Train as the options say."""
    from kda_edge.networks.by_name import require_network

    from ..loops.devices import resolve_device
    from ..loops.output_places import require_folder
    from ..segmentation.segment import segment
    from .progress_bar import ProgressBar

    config = config_from(options)
    require_network(config.variant)
    require_folder(options.out, "--out")
    resolve_device(config.device)
    data = checked_data(options, batch=config.batch, crop_px=config.crop_px)
    fresh = not options.init and not options.backbone and not options.encoder_weights
    if fresh and options.backbone_rate[0] < FRESH_BACKBONE_RATE:
        logging.warning(
            "a backbone with fresh weights learns little at a rate of %g, which the paper gives for a distilled one; "
            "consider --backbone-rate 5e-4 5e-6 --clip-norm 1, or start from --backbone or --init",
            options.backbone_rate[0],
        )
    logging.info("%s", {split: len(samples) for split, samples in data.samples.items()})
    with ProgressBar() as progress:
        best = segment(config, data, options.out, command=command, resume=options.resume, progress=progress)
    print(best)


def config_from(options: argparse.Namespace) -> SegmentConfig:
    """Return the settings that the options say.

    Raises:
        UsageError: settings that can't be right.
        CheckpointError: `--init` or `--backbone` can't be read.
    """
    from ..segmentation.config import SegmentConfig
    from ..segmentation.losses import LossWeights

    return settings_from(
        SegmentConfig,
        options,
        variant=options.variant or _variant(options),
        finish_px=options.crop_px if options.finish_px is None else options.finish_px,
        loss=LossWeights(*options.loss),
    )


def _variant(options: argparse.Namespace) -> str:
    from kda_edge.networks.checkpoint import read_checkpoint

    from ..loops.backbone_files import read_backbone

    if options.init:
        return read_checkpoint(options.init).student.variant
    return read_backbone(Path(options.backbone)).variant if options.backbone else "base"
