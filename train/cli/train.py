"""Distil, train and judge landslide segmentation students.

    kda-train check --data landslides.toml
    kda-train fit --data landslides.toml --teacher vit_large_patch14_dinov2.lvd142m --out runs/base
    kda-train evaluate --ckpt runs/base/segment/best.pt --data landslides.toml --split test

or the two phases one by one:

    kda-train distill --data landslides.toml --variant base --out runs/distilled
    kda-train segment --data landslides.toml --variant base --backbone runs/distilled/distilled.pt --out runs/base

DATA is a TOML file (docs/data.md), a folder with images/ and masks/, one with train/, val/ and test/ that hold these,
or a folder in the CAS layout; for `distill` also any folder of images, or one scene. Several GPUs or machines: the same
command after `torchrun --nproc-per-node N -m kda_edge.train`.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from kda_edge import __version__
from kda_edge.commands import SubcommandParser, ended
from kda_edge.errors import MissingDependency
from kda_edge.standard_streams import with_steady_streams

from . import card, check, distill, evaluate, explain, fit, rasterise, report, segment


@with_steady_streams
def main(argv: Sequence[str] | None = None) -> int:
    """Run `kda-train`; return 0, 1 (an error that the message explains) or 2 (wrong usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

    def run() -> None:
        _require_torch()
        command: Any = options.run
        # A resumed run is the run that it resumes: its record is the same.
        command(options, shlex.join(["kda-train", *(word for word in arguments if word != "--resume")]))

    return ended("kda-train", run, interrupted="stopped; go on with --resume" if "resume" in options else "stopped")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kda-train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"kda-train {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=SubcommandParser)
    for module in (rasterise, check, fit, distill, segment, card, evaluate, report, explain):
        module.add_commands(commands)
    return parser


def _require_torch() -> None:
    try:
        import torch  # noqa: F401  # only to see whether it is there
    except ModuleNotFoundError as error:
        raise MissingDependency("torch", extra="train") from error
