"""The command `kda-train segment`: its options, and the run that they ask for."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .check import add_skip_check, checked_data
from .options import add_data, add_machine, configured_data, settings_from
from .report import add_skip_report, end_with_report, require_reportable

if TYPE_CHECKING:
    from ..segmentation.config import SegmentConfig

FRESH_BACKBONE_RATE: Final = 1e-4  # below, a note is printed; the bundled student's is 8e-4


def add_commands(commands: Any) -> None:
    """Add the command to the parser's."""
    segment = commands.add_parser("segment", help="learn to segment from images and masks (phase 2)")
    add_data(segment, configurable=True)
    add = segment.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for best.pt, last.pt and the TensorBoard log")
    add("--resume", action="store_true", help="go on from last.pt in the folder")
    add(
        "--variant",
        help="nano, tiny, base (the paper's), large, xlarge or huge; base+unet: another head; deeplabv3plus: a peer; "
        "tf_efficientnet_lite0+dcf: a backbone of timm; "
        "default: that of --backbone or --init, else base",
    )
    add("--backbone", metavar="FILE", help="distilled.pt of kda-train distill, for the encoder")
    add("--init", metavar="CKPT", help="start from this checkpoint instead of fresh weights")
    add("--encoder-weights", metavar="FILE", help="of a peer's or timm's encoder: imagenet, or a file")
    add("--epochs", type=int, help="default 200")
    add("--batch", type=int, help="over all processes; default 16")
    add("--crop-px", type=int, help="side of the training crops, a multiple of 32; default 512")
    add("--finish-px", type=int, help="side of the crops in the last --finish-epochs, and of the tiles in use")
    add("--finish-epochs", type=int, help="default 0: --crop-px throughout")
    for name, default in (("backbone", (5e-6, 5e-9)), ("decoder", (5e-4, 5e-6))):
        text = f"learning rates of the {name}; default: the paper's, {default[0]:g} to {default[1]:g}"
        add(f"--{name}-rate", type=float, nargs=2, metavar=("FIRST", "LAST"), help=text)
    add("--warmup-epochs", type=int, help="with a rising rate; default 0")
    add("--weight-decay", type=float, help="default 0.01")
    add("--clip-norm", type=float, help="largest gradient norm; default 0: not limited")
    add("--average", type=float, metavar="DECAY", help="average the weights, e.g. 0.999; default 0: don't")
    add("--evaluate-every", type=int, metavar="N", help="judge every N-th epoch on the val groups; default 1")
    add("--patience", type=int, metavar="N", help="end after N epochs without a better val IoU; default 0: never")
    add("--loss", type=float, nargs=3, metavar=("CE", "FOCAL", "DICE"), help="weights; default 0.4 0.6 0")
    add("--landslide-weight", type=float, metavar="W", help="of a landslide pixel in the loss; default 1: of any pixel")
    add("--teacher-ckpt", nargs="+", metavar="CKPT", help="students whose mean answer is learned beside the labels")
    add("--teacher-share", type=float, help="of the loss that the teachers have; default 0.6")
    add("--temperature", type=float, help="that softens the teachers' answers; default 1: as they are")
    share = "of an image's crops that are placed on its landslide; default: 0.5 in scenes, elsewhere by chance"
    add("--landslide-share", type=float, metavar="SHARE", help=share)
    add("--scale", type=float, nargs=2, metavar=("LOW", "HIGH"), help="random magnification; default 0.75 1.5")
    add("--colour", type=float, help="strength of the colour jitter, 0 to 1; default 0.4")
    add_machine(segment)
    add_skip_check(segment)
    add_skip_report(segment)
    segment.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> None:
    """Train as the options say."""
    from kda_edge.networks.by_name import require_network
    from kda_edge.progress.progress_bar import ProgressBar

    from ..configuration.config_file import read_tables
    from ..data.unlabelled import with_unlabelled
    from ..loops.devices import resolve_device
    from ..loops.loggers import require_loggers
    from ..loops.output_places import require_folder
    from ..segmentation.segment import segment

    tables = read_tables(options.config)
    config = config_from(options, tables["segment"])
    require_network(config.variant)
    require_folder(options.out, "--out")
    require_reportable(skip=options.skip_report)
    resolve_device(config.device)
    require_loggers(config.loggers)
    request = configured_data(options, tables["data"], config.seed)
    data, report = checked_data(request, skip=options.skip_check, batch=config.batch, crop_px=config.crop_px)
    if config.teachers.checkpoints:
        data = with_unlabelled(data, request)
    fresh = not config.init and not config.backbone and not config.encoder_weights
    if fresh and config.backbone_rate[0] < FRESH_BACKBONE_RATE:
        logging.warning(
            "a backbone with fresh weights learns little at a rate of %g, which the paper gives for a distilled one; "
            "consider --backbone-rate 5e-4 5e-6 --clip-norm 1, or start from --backbone or --init",
            config.backbone_rate[0],
        )
    logging.info("%s", {split: len(samples) for split, samples in data.samples.items()})
    with ProgressBar() as progress:
        best = segment(config, data, options.out, command=command, resume=options.resume, progress=progress)
    print(best)
    end_with_report(options.out, data, report, config.device, skip=options.skip_report)


def config_from(options: argparse.Namespace, table: Mapping[str, Any]) -> SegmentConfig:
    """Return the settings that a table and, over it, the options say.

    Args:
        options: of the command.
        table: `[segment]` of a configuration file.

    Raises:
        UsageError: settings that can't be right.
        CheckpointError: `--init` or `--backbone` can't be read.
    """
    from ..configuration.config_file import settings_from_table
    from ..segmentation.config import SegmentConfig

    said = settings_from_table(SegmentConfig, table, where="segment", path=options.config)
    crop_px = said.crop_px if options.crop_px is None else options.crop_px
    finish_px = said.finish_px if "finish_px" in table else crop_px
    weights = dict(zip(("cross_entropy", "focal", "dice"), options.loss or (), strict=False))
    if options.landslide_weight is not None:
        weights["landslide_weight"] = options.landslide_weight
    asked = {"share": options.teacher_share, "temperature": options.temperature}
    teachers: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if options.teacher_ckpt is not None:
        teachers["checkpoints"] = tuple(options.teacher_ckpt)
    config = settings_from(
        said,
        options,
        finish_px=finish_px if options.finish_px is None else options.finish_px,
        loss=dataclasses.replace(said.loss, **weights),
        teachers=dataclasses.replace(said.teachers, **teachers),
    )
    return config if options.variant or "variant" in table else dataclasses.replace(config, variant=_variant(config))


def _variant(config: SegmentConfig) -> str:
    from kda_edge.networks.checkpoint import read_checkpoint

    from ..loops.backbone_files import read_backbone

    if config.init:
        return read_checkpoint(config.init).student.variant
    return read_backbone(Path(config.backbone)).variant if config.backbone else config.variant
