"""The commands `kda-train pack` and `kda-train card`: a data set in one file, and minutes of training on a card."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import UsageError

from .options import add_data, data_request

SPLITS: Final = ("train", "val", "test")


def add_commands(commands: Any) -> None:
    """Add the commands to the parser's."""
    pack = commands.add_parser(
        "pack",
        help="a data set in one small file, for kda-train card",
        description="Pack all images and labels of a data set into one file: 8-bit RGB as WebP, labels without loss. "
        "A machine that trains from it needs neither the images nor GDAL.",
    )
    add_data(pack)
    add = pack.add_argument
    add("--unlabelled", type=Path, metavar="DIR", help="images without labels, which students learn from by teachers")
    add("--quality", type=int, default=101, help="of WebP, 1 to 100; default 101: without loss")
    add("--halve", nargs="+", default=[], metavar="SOURCE", help="halve height and width of these sources' images")
    add("--out", type=Path, required=True, metavar="FILE")
    pack.set_defaults(run=_pack)

    card = commands.add_parser(
        "card",
        help="teachers and students from a packed set, for so many seconds",
        description="Train teachers from labels, then students from labels and the teachers' answers, with all imagery "
        "in the memory of the device, each for so many seconds; judge them on the splits that they do not learn from.",
    )
    add = card.add_argument
    add("--set", type=Path, required=True, metavar="FILE", help="of kda-train pack", dest="packed_set")
    add("--out", type=Path, required=True, metavar="DIR", help="for checkpoints and figures")
    add("--learn-from", nargs="+", choices=SPLITS, default=["train"], metavar="SPLIT")
    add("--judge-on", nargs="*", choices=SPLITS, default=["val"], metavar="SPLIT")
    add("--teachers", nargs="*", metavar="VARIANT", help="default: EfficientNet-Lite2 under UNet and under UperNet")
    add("--students", nargs="+", metavar="VARIANT", help="or checkpoints; default: tf_efficientnet_lite0+fpn")
    add("--weights", type=Path, metavar="DIR", help="encoders' state dicts, NAME.pt for a backbone NAME of timm")
    add("--teacher-s", type=float, default=150.0, help="seconds of the teachers; default 150")
    add("--student-s", type=float, default=185.0, help="seconds of the students; default 185")
    add("--batch", type=int, default=64, help="crops a step; default 64")
    add("--crop-px", type=int, default=256, help="side of a crop; default 256")
    add("--scale", type=float, nargs=2, default=(0.5, 2.0), metavar=("LOW", "HIGH"), help="magnification")
    add("--steps", type=int, default=0, help="at most, of each; default 0: as many as there is time for")
    add("--threshold", type=float, help="of the students; default: the best one where they are judged")
    add("--gsd", type=float, nargs=2, metavar=("FINEST", "COARSEST"), help="of the imagery, metres a pixel")
    add("--seed", type=int, default=0)
    add("--device", default="auto")
    card.set_defaults(run=_on_card)


def _pack(options: argparse.Namespace, command: str) -> None:
    from ..data.data_file import load_data
    from ..on_card.pack import packed
    from ..on_card.packed_set import write_packed_set

    del command
    if not 1 <= options.quality <= 101:
        raise UsageError(f"--quality must lie between 1 and 101, not {options.quality}")
    data = load_data(data_request(options))
    images = packed(data, unlabelled=options.unlabelled, halved=options.halve)
    count = write_packed_set(options.out, images, quality=options.quality)
    logging.info("%s: %d images, %.1f MB", options.out, count, options.out.stat().st_size / 1e6)


def _on_card(options: argparse.Namespace, command: str) -> None:
    from ..loops.devices import resolve_device
    from ..on_card.card_run import CardRun, CardSettings

    if options.weights is not None and not options.weights.is_dir():
        raise UsageError(f"--weights {options.weights} is no folder; check the path")
    default = CardSettings()
    settings = CardSettings(
        learn_from=tuple(options.learn_from),
        judge_on=tuple(options.judge_on),
        teachers=default.teachers if options.teachers is None else tuple(options.teachers),
        students=default.students if options.students is None else tuple(options.students),
        weights=options.weights,
        teacher_s=options.teacher_s,
        student_s=options.student_s,
        batch=options.batch,
        crop_px=options.crop_px,
        scale=tuple(options.scale),
        steps=options.steps,
        seed=options.seed,
        threshold=options.threshold,
        gsd_m=tuple(options.gsd) if options.gsd else None,
    )
    for path in CardRun(options.packed_set, options.out, settings, resolve_device(options.device), command).run():
        logging.info("%s", path)
