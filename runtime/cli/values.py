"""Parsers of option values: what a person types, or wrong usage where it can't be one. Imports nothing heavy."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any, Literal

from kda_edge.addresses import path_from_file_url
from kda_edge.errors import UsageError

from ..geo.raster_names import RasterName, raster_named
from ..streams.source_names import is_video


def bands(text: str) -> tuple[int, int, int]:
    """Return the three numbers of `3,2,1`, each 1 or more."""
    try:
        red, green, blue = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three band numbers such as 3,2,1") from None
    if min(red, green, blue) < 1:
        raise argparse.ArgumentTypeError("band numbers start at 1")
    return red, green, blue


def number(text: str) -> float:
    """Return a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


class ValueRange(argparse.Action):
    """Keeps two numbers as a range."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        """Keep them.

        Raises:
            UsageError: the range is empty.
        """
        low, high = values
        if not low < high:
            raise UsageError("--value-range takes the least, then the largest value")
        setattr(namespace, self.dest, (low, high))


def area(text: str) -> float:
    """Return a number that is 0 or more."""
    value = number(text)
    if value < 0:
        raise argparse.ArgumentTypeError("an area is 0 or more")
    return value


def metres(text: str) -> float | Literal["trained"]:
    """Return a number above 0, or the word for the nearest that the model learned from."""
    if text == "trained":
        return "trained"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of metres; give one, or none behind the last scene")
    return value


def pixels(text: str) -> int:
    """Return a whole number that is 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels")
    return int(text)


def count(text: str) -> int:
    """Return a whole number that is 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def seconds(text: str) -> float:
    """Return a number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("a time is above 0")
    return value


def memory(text: str) -> int:
    """Return the bytes of `800M` or `1.5G`."""
    from ..runs.memory_bounds import bytes_from

    try:
        return bytes_from(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def shard(text: str) -> tuple[int, int]:
    """Return the numbers of `2/7`, the second of seven."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard such as 2/7, the second of seven")
    return int(match[1]), int(match[2])


def source(text: str, *, video: bool = False) -> RasterName | str:
    """Return a scene's path or address, or a video's name.

    Args:
        text: as it was typed.
        video: whether it is a video whatever it is called.

    Raises:
        UsageError: an address that nothing reads.
    """
    path = path_from_file_url(text)
    name = text if path is None else str(path)
    return name if video or is_video(name) else raster_named(name)
