"""Turn a checkpoint into a verified ONNX artifact that kda-infer runs.

    kda-export --ckpt student.pt --tiles scene.tif

writes student.onnx beside the checkpoint: raw pixels in, landslide probability out, and everything that a runtime
must know inside. Before it is written, ONNX Runtime must answer as PyTorch does, on generated and hostile tiles and
on the imagery given with --tiles; otherwise nothing is written.
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
from kda_edge.errors import KdaEdgeError, MissingDependency, UsageError
from kda_edge.manifest import PIXEL_TYPES

from .config import DeclaredInput, ExportConfig

if TYPE_CHECKING:
    from .pipeline import ExportReport

EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
PACKAGES: Final = ("torch", "onnx", "onnxscript", "onnxsim")  # what the extra `export` brings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    options = _parser().parse_args(argv)
    try:
        config = _config_from_options(options)
        _require_packages()
        from .pipeline import export_checkpoint  # torch takes seconds to import: not before it is needed

        report = export_checkpoint(config)
    except KdaEdgeError as error:
        print(f"kda-export: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_ERROR
    except KeyboardInterrupt:
        print("kda-export: interrupted; nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    for note in report.notes:
        print(f"kda-export: note: {note}", file=sys.stderr)
    print(_json_from_report(report) if options.json else _text_from_report(report))
    return 0


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
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
    declare = parser.add_argument_group(
        "input of a published state dict",
        "it says nothing of its pixels: 8-bit RGB with ImageNet statistics if not told",
    )
    declare.add_argument("--pixel-type", choices=PIXEL_TYPES, help="data type of the imagery")
    declare.add_argument("--value-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="values that it can hold")
    declare.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="in the units of the imagery")
    declare.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="in the units of the imagery")
    return parser


def _config_from_options(options: argparse.Namespace) -> ExportConfig:
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
    )


def _require_packages() -> None:
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(package, extra="export")


def _text_from_report(report: ExportReport) -> str:
    manifest = report.manifest
    return (
        f"{report.artifact}: student {manifest.variant}, {manifest.parameters / 1e6:.2f} M parameters, "
        f"tile {manifest.tile_px} px, {report.size_bytes / 1e6:.1f} MB\n"
        f"parity with PyTorch: probabilities differ by {manifest.parity.max_abs:g} at most on "
        f"{len(manifest.parity.tiles)} tiles, {manifest.parity.budget_max_abs:g} allowed"
    )


def _json_from_report(report: ExportReport) -> str:
    manifest = report.manifest
    facts = {
        "artifact": str(report.artifact),
        "size_bytes": report.size_bytes,
        "sha256": report.sha256,
        "variant": manifest.variant,
        "parameters": manifest.parameters,
        "tile_px": manifest.tile_px,
        "threshold": manifest.threshold,
        "precision": manifest.precision,
        "opset": manifest.opset,
        "nodes_traced": report.nodes_traced,
        "nodes": report.nodes,
        "parity": {"max_abs": manifest.parity.max_abs, **dataclasses.asdict(manifest.parity)},
        "notes": list(report.notes),
    }
    return json.dumps(facts)
