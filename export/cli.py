"""Turn a checkpoint into a verified ONNX artifact that kda-infer runs.

    kda-export --ckpt student.pt --tiles scene.tif

writes student.onnx beside the checkpoint: raw pixels in, landslide probability out, and everything that a runtime
must know inside. Before it is written, ONNX Runtime must answer as PyTorch does, on generated and hostile tiles, on
the imagery given with --tiles and, by landslide IoU, on that of --eval; otherwise nothing is written.

    kda-export --ckpt student.pt --fp16 --eval labelled
    kda-export --ckpt student.pt --int8 --calib scene.tif --eval labelled
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import kda_edge
from kda_edge.certificate import FASTER_BY
from kda_edge.commands import EXIT_ERROR, ended
from kda_edge.errors import KdaEdgeError, MissingDependency, UsageError
from kda_edge.manifest import PIXEL_TYPES
from kda_edge.progress.progress_bar import ProgressBar
from kda_edge.standard_streams import with_steady_streams

from .config import CALIBRATION_METHODS, BudgetConfig, CalibrationConfig, DeclaredInput, ExportConfig

if TYPE_CHECKING:
    from .pipeline import ExportReport

PACKAGES: Final = ("torch", "onnx", "onnxscript", "onnxsim")  # what the extra `export` brings


@with_steady_streams
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    options = _parser().parse_args(argv)
    return ended("kda-export", lambda: _run(options), interrupted="interrupted; nothing was written")


def _run(options: argparse.Namespace) -> int:
    config = _config_from_options(options)
    _require_packages()
    from .pipeline import export_checkpoint  # torch takes seconds to import: not before it is needed

    with ProgressBar("kda-export: ", heartbeat=True) as progress:
        report = export_checkpoint(config, log=progress.say, progress=progress)
    for note in report.notes:
        print(f"kda-export: note: {note}", file=sys.stderr)
    print(_json_from_report(report) if options.json else _text_from_report(report))
    return _build_engine(report.artifact) if options.engine else 0


def _say(line: str) -> None:
    print(f"kda-export: {line}", file=sys.stderr)


def _build_engine(artifact: Path) -> int:
    """Build this device's engine; the artifact stays where that fails."""
    from kda_edge.runtime.opened_engine import open_engine

    not_built = f"{artifact} is written, its engine is not built"

    def build() -> int:
        try:
            with open_engine(artifact, engine="tensorrt"):
                _say("the TensorRT engine for this device is built and kept for kda-infer")
        except KdaEdgeError as error:
            _say(f"{not_built}: {error}")
            return EXIT_ERROR
        return 0

    return ended("kda-export", build, interrupted=f"interrupted; {not_built}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kda-export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"kda-export {kda_edge.__version__}")
    parser.add_argument(
        "--ckpt", type=Path, required=True, metavar="PT", help="checkpoint, or published KDA state dict"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="ONNX", help="default: the checkpoint's name, beside it")
    parser.add_argument(
        "--tile", type=int, metavar="PX", help="side of the tile, a multiple of 32; default: as trained"
    )
    parser.add_argument(
        "--tiles", type=Path, metavar="PATH", help="image, scene or folder of them to verify on as well"
    )
    parser.add_argument("--threshold", type=float, metavar="P", help="probability of a landslide; default: as trained")
    parser.add_argument(
        "--eval", type=Path, metavar="DIR", help="images/ and masks/ (0, 255) to measure the landslide IoU on"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
    _add_precision(parser)
    declare = parser.add_argument_group(
        "input of a published state dict",
        "it says nothing of its pixels: 8-bit RGB with ImageNet statistics if not told",
    )
    declare.add_argument("--pixel-type", choices=PIXEL_TYPES, help="data type of the imagery")
    declare.add_argument("--value-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="values that it can hold")
    declare.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="in the units of the imagery")
    declare.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="in the units of the imagery")
    return parser


def _add_precision(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("precision", "FP32 if not told")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--fp16", action="store_const", dest="precision", const="fp16", help="half the size; for GPUs")
    either.add_argument("--int8", action="store_const", dest="precision", const="int8", help="needs --calib")
    group.add_argument(
        "--target",
        choices=("cpu", "tensorrt"),
        help="engines to make it for; default: FP32 any, FP16 TensorRT, INT8 TensorRT where it is, else CPU",
    )
    group.add_argument("--calib", type=Path, metavar="PATH", help="scene, or folder of images, to calibrate INT8 on")
    group.add_argument("--calib-count", type=int, default=64, metavar="N", help="tiles to draw (default: 64)")
    group.add_argument("--calib-method", choices=CALIBRATION_METHODS, default=CalibrationConfig.method)
    group.add_argument("--calib-seed", type=int, default=0, metavar="N")
    group.add_argument(
        "--max-difference", type=float, metavar="P", help="budget of the probability; default: FP32 1e-4, others none"
    )
    group.add_argument(
        "--max-iou-loss", type=float, metavar="POINTS", help="budget of landslide IoU; default: FP16 0.1, INT8 0.5"
    )
    group.add_argument(
        "--min-gain",
        type=float,
        default=FASTER_BY,
        metavar="SHARE",
        help=f"of latency that INT8 must save (default: {FASTER_BY:g})",
    )
    group.add_argument("--force", action="store_true", help="take INT8 though it saves less; recorded in the file")
    group.add_argument(
        "--gridsample",
        action=argparse.BooleanOptionalAction,
        help="keep GridSample, or write the sampling as gathers; default: gathers for TensorRT, GridSample for others",
    )
    group.add_argument(
        "--portable", action="store_true", help="for QGIS Deepness and WebODM GeoDeep instead of kda-infer"
    )
    group.add_argument("--engine", action="store_true", help="build the TensorRT engine for this device as well")


def _config_from_options(options: argparse.Namespace) -> ExportConfig:
    if options.portable and options.engine:
        raise UsageError("--engine builds for kda-infer, which does not take --portable; give one of the two")
    return ExportConfig(
        checkpoint=options.ckpt,
        artifact=options.output,
        tile_px=options.tile,
        tiles=options.tiles,
        threshold=options.threshold,
        input=DeclaredInput(
            pixel_type=options.pixel_type,
            value_range=tuple(options.value_range) if options.value_range else None,
            mean=tuple(options.mean) if options.mean else None,
            std=tuple(options.std) if options.std else None,
        ),
        precision=options.precision or "fp32",
        target=options.target,
        labelled=options.eval,
        calibration=CalibrationConfig(options.calib, options.calib_count, options.calib_method, options.calib_seed),
        budget=BudgetConfig(options.max_difference, options.max_iou_loss, options.min_gain, options.force),
        gridsample=options.gridsample,
        portable=options.portable,
    )


def _require_packages() -> None:
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(package, extra="export")


def _text_from_report(report: ExportReport) -> str:
    manifest, certificate = report.manifest, report.certificate
    lines = [
        f"{report.artifact}: student {manifest.variant}, {manifest.parameters / 1e6:.2f} M parameters, "
        f"{manifest.precision} for {manifest.target}, tile {manifest.tile_px} px, {report.size_bytes / 1e6:.1f} MB",
        f"against PyTorch: probabilities differ by {certificate.max_abs:g} at most and {certificate.class_changes:.3%} "
        f"of pixels change class on {len(certificate.tiles)} tiles",
    ]
    labelled, latency = certificate.labelled, certificate.latency
    if labelled is not None:
        lines.append(
            f"landslide IoU on {len(labelled.images)} labelled images: {labelled.iou:.4f}, PyTorch "
            f"{labelled.reference_iou:.4f}"
        )
    if latency is not None:
        lines.append(
            f"latency: {latency.p50_ms:.1f} ms a tile, {latency.other_precision} {latency.other_p50_ms:.1f} ms "
            f"({latency.engine})"
        )
    if manifest.islands:
        lines.append(f"kept out of {manifest.precision}: {', '.join(manifest.islands)}")
    if manifest.training.licences:
        terms = dict.fromkeys(manifest.training.licences.values())
        lines.append(f"it learned from imagery under these terms, which may bind its use: {'; '.join(terms)}")
    return "\n".join(lines)


def _json_from_report(report: ExportReport) -> str:
    manifest, certificate = report.manifest, report.certificate
    facts = {
        "artifact": str(report.artifact),
        "size_bytes": report.size_bytes,
        "sha256": report.sha256,
        "variant": manifest.variant,
        "parameters": manifest.parameters,
        "tile_px": manifest.tile_px,
        "threshold": manifest.threshold,
        "precision": manifest.precision,
        "target": manifest.target,
        "islands": list(manifest.islands),
        "opset": manifest.opset,
        "nodes_traced": report.nodes_traced,
        "nodes": report.nodes,
        "certificate": {
            "max_abs": certificate.max_abs,
            "mean_abs": certificate.mean_abs,
            "class_changes": certificate.class_changes,
            **dataclasses.asdict(certificate),
        },
        "notes": list(report.notes),
    }
    return json.dumps(facts)
