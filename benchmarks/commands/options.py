"""Options that several subcommands share, and what their words may be."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from kda_edge.runtime.engines.engine_names import ENGINES


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the model and what runs it."""
    add = parser.add_argument
    add("model", nargs="?", type=Path, metavar="model.onnx", help="made by kda-export (default: the bundled student)")
    add("--engine", choices=ENGINES, default="auto", help="default: TensorRT where a GPU and it are, else the CPU")
    add("--allow-unverified", action="store_true", help="take a model whose certificate is missing or does not hold")


def positive_number(text: str) -> float:
    """Return a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def positive_numbers(text: str) -> tuple[int, ...]:
    """Return whole numbers above 0, separated by commas."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers above 0, such as 1,2,4")
    return tuple(int(part) for part in parts)
