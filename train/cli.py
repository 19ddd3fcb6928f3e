"""Train and judge landslide segmentation students.

    kda-train segment --data landslides.toml --variant base --out runs/base
    kda-train evaluate --ckpt runs/base/best.pt --data landslides.toml --split test
    kda-train statistics --data landslides.toml

DATA is a TOML file (docs/data.md), a folder with images/ and masks/, or a folder in the CAS layout.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from kda_edge import __version__
from kda_edge.errors import KdaEdgeError, MissingDependency, UsageError
from kda_edge.manifest import PIXEL_TYPES, InputContract

FRESH_BACKBONE_RATE: Final = 1e-4  # below, a note is printed; the bundled student's is 8e-4


def main(argv: Sequence[str] | None = None) -> int:
    """Run `kda-train`; return 0, 1 (an error that the message explains) or 2 (wrong usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        _require_torch()
        command: Any = options.run
        # A resumed run is the run that it resumes: its record is the same.
        command(options, shlex.join(["kda-train", *(word for word in arguments if word != "--resume")]))
    except UsageError as error:
        print(f"kda-train: {error}", file=sys.stderr)
        return 2
    except KdaEdgeError as error:
        print(f"kda-train: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"kda-train: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("kda-train: stopped; go on with --resume", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kda-train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"kda-train {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    segment = commands.add_parser("segment", help="learn to segment from images and masks (phase 2)")
    _add_data(segment)
    add = segment.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for best.pt, last.pt and the TensorBoard log")
    add("--resume", action="store_true", help="go on from last.pt in the folder")
    add("--variant", help="nano, tiny, base (the paper's), large, xlarge or huge; default: that of --init, else base")
    add("--init", default="", metavar="CKPT", help="start from this student instead of fresh weights")
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
    add("--loss", type=float, nargs=3, default=(0.4, 0.6, 0.0), metavar=("CE", "FOCAL", "DICE"))
    add("--scale", type=float, nargs=2, default=(0.75, 1.5), metavar=("LOW", "HIGH"), help="random magnification")
    add("--colour", type=float, default=0.4, help="strength of the colour jitter, 0 to 1")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    add("--device", default="auto")
    add("--workers", type=int, default=2, help="processes that prepare crops")
    add("--threads", type=int, default=0, help="CPU threads of the network; 0: PyTorch's choice")
    segment.set_defaults(run=_segment)

    evaluate = commands.add_parser("evaluate", help="metrics of a student on a split, by group")
    _add_data(evaluate)
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
    _add_data(statistics)
    statistics.set_defaults(run=_statistics)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="TOML file or folder")
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="where a TOML file's sources lie; default: beside it"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random splits and of training")
    parser.add_argument("--pixel-type", choices=PIXEL_TYPES, help="of a folder's imagery; default uint8")
    parser.add_argument("--value-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of a folder's imagery")
    parser.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="of a folder's imagery")
    parser.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="of a folder's imagery")


def _require_torch() -> None:
    try:
        import torch  # noqa: F401  # only to see whether it is there
    except ModuleNotFoundError as error:
        raise MissingDependency("torch", extra="train") from error


def _load(options: argparse.Namespace, *, statistics: bool = False) -> Any:
    from .data import load_data

    declared = {
        "pixel_type": options.pixel_type,
        "value_range": options.value_range and tuple(options.value_range),
        "mean": options.mean and tuple(options.mean),
        "std": options.std and tuple(options.std),
    }
    given = {name: value for name, value in declared.items() if value is not None}
    if given.get("pixel_type", "uint8") != "uint8" and "value_range" not in given:
        raise UsageError(f"--pixel-type {given['pixel_type']} needs --value-range LOW HIGH: what the imagery can hold")
    contract = InputContract(**given) if given else None
    return load_data(
        options.data,
        seed=options.seed,
        root=options.data_root,
        input_contract=contract,
        need_statistics=not statistics,
    )


def _segment(options: argparse.Namespace, command: str) -> None:
    from kda_edge.checkpoint import read_checkpoint

    from .augmentation import Augmentation
    from .config import SegmentConfig
    from .losses import LossWeights
    from .progress import ProgressBar
    from .segment import segment

    variant = options.variant or (read_checkpoint(options.init).student.variant if options.init else "base")
    if not options.init and options.backbone_rate[0] < FRESH_BACKBONE_RATE:
        logging.warning(
            "a backbone with fresh weights learns little at a rate of %g, which the paper gives for a distilled one; "
            "consider --backbone-rate 5e-4 5e-6 --clip-norm 1, or start from a student with --init",
            options.backbone_rate[0],
        )
    config = SegmentConfig(
        variant=variant,
        init=options.init,
        epochs=options.epochs,
        batch=options.batch,
        crop_px=options.crop_px,
        finish_px=options.finish_px or options.crop_px,
        finish_epochs=options.finish_epochs,
        backbone_rate=tuple(options.backbone_rate),
        decoder_rate=tuple(options.decoder_rate),
        warmup_epochs=options.warmup_epochs,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        average=options.average,
        loss=LossWeights(*options.loss),
        augmentation=Augmentation(scale=tuple(options.scale), colour=options.colour),
        seed=options.seed,
        precision=options.precision,
        device=options.device,
        workers=options.workers,
        threads=options.threads,
    )
    data = _load(options)
    logging.info("%s", {split: len(samples) for split, samples in data.samples.items()})
    with ProgressBar() as progress:
        best = segment(config, data, options.out, command=command, resume=options.resume, progress=progress)
    print(best)


def _evaluate(options: argparse.Namespace, command: str) -> None:
    from kda_edge.checkpoint import read_checkpoint, weights_digest
    from kda_edge.metrics import best_threshold

    from .devices import resolve_device
    from .evaluate import evaluate
    from .progress import ProgressBar
    from .report import record_metrics, table, write_json
    from .segment import EVALUATION_OVERLAP

    checkpoint = read_checkpoint(options.ckpt)
    data = _load(options)
    samples = data.samples[options.split]
    if not samples:
        raise UsageError(f"no samples are in the {options.split} split of {options.data}")
    if data.input != checkpoint.input and checkpoint.declared:
        raise UsageError(
            f"{options.data} declares other imagery than {options.ckpt} was trained on: "
            f"{data.input} instead of {checkpoint.input}"
        )
    tile_px = options.tile_px or checkpoint.tile_px
    threshold = checkpoint.threshold if options.threshold is None else options.threshold
    device = resolve_device(options.device)
    with ProgressBar() as progress:
        evaluation = evaluate(
            checkpoint.student.to(device),
            samples,
            data.input,
            tile_px=tile_px,
            overlap_px=int(tile_px * EVALUATION_OVERLAP),
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
                "pixels": {name: value.pixels for name, value in counts.items()},
            },
        )


def _statistics(options: argparse.Namespace, command: str) -> None:
    from .statistics import band_statistics

    data = _load(options, statistics=True)
    mean, std = band_statistics(data.samples["train"], data.input)
    print("[input]")
    print(f"mean = {json.dumps([round(value, 4) for value in mean])}")
    print(f"std = {json.dumps([round(value, 4) for value in std])}")
