"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import argparse
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kda_edge.errors import UsageError
from kda_edge.manifest import PIXEL_TYPES, InputContract

from ..loops.settings import AUTO, MEMORY_FORMATS, PRECISIONS, RunSettings

if TYPE_CHECKING:
    from ..data.data_file import DataRequest

_T = TypeVar("_T", bound=RunSettings)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the imagery is and what it is."""
    parser.add_argument("--data", type=Path, required=True, metavar="DATA", help="TOML file or folder")
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="where a TOML file's sources lie; default: beside it"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random splits and of training")
    parser.add_argument("--pixel-type", choices=PIXEL_TYPES, help="of a folder's imagery; default uint8")
    parser.add_argument("--value-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of a folder's imagery")
    parser.add_argument(
        "--gsd",
        type=float,
        nargs=2,
        metavar=("FINEST", "COARSEST"),
        help="ground sampling distance of a folder's imagery, metres a pixel; default: not known",
    )
    parser.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="of a folder's imagery")
    parser.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="of a folder's imagery")


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what computes."""
    add = parser.add_argument
    add("--precision", choices=PRECISIONS, default=AUTO, help="auto: the fastest, by a trial of some seconds")
    add("--memory-format", choices=MEMORY_FORMATS, default=AUTO, help="auto: the fastest, by the same trial")
    add("--device", default="auto")
    add("--workers", type=int, default=2, help="processes that prepare crops")
    add("--threads", type=int, default=0, help="CPU threads of the network; 0: PyTorch's choice")
    add("--recompute", action="store_true", help="gradient checkpointing: less memory, more time, the same weights")


def settings_from(kind: type[_T], options: argparse.Namespace, **made: Any) -> _T:
    """Return the settings of a phase that its options say, each field from the option of its name.

    Args:
        kind: of the settings.
        options: of the command.
        made: fields that are no option's value as it stands; `augmentation` is made here.

    Raises:
        UsageError: settings that can't be right.
    """
    from ..data.augmentation import Augmentation

    made["augmentation"] = Augmentation(scale=tuple(options.scale), colour=options.colour)
    said = {field.name: getattr(options, field.name) for field in fields(kind) if field.name not in made}
    lists: dict[str, Any] = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    return kind(**{**said, **lists, **made})


def input_contract(options: argparse.Namespace) -> InputContract | None:
    """Return what the options declare of a folder's imagery; None: nothing.

    Raises:
        UsageError: a data type without its range, or sampling distances that can't be.
    """
    if options.gsd and not 0 < options.gsd[0] <= options.gsd[1] < math.inf:
        raise UsageError("--gsd takes the finest, then the coarsest ground sampling distance, metres above 0")
    declared = {
        "pixel_type": options.pixel_type,
        "value_range": options.value_range and tuple(options.value_range),
        "mean": options.mean and tuple(options.mean),
        "std": options.std and tuple(options.std),
        "gsd_m": options.gsd and tuple(options.gsd),
    }
    given = {name: value for name, value in declared.items() if value is not None}
    if given.get("pixel_type", "uint8") != "uint8" and "value_range" not in given:
        raise UsageError(f"--pixel-type {given['pixel_type']} needs --value-range LOW HIGH: what the imagery can hold")
    return InputContract(**given) if given else None


def data_request(options: argparse.Namespace, *, need_statistics: bool = True) -> DataRequest:
    """Return the request for imagery that the options of `add_data` make.

    Raises:
        UsageError: a data type without its range.
    """
    from ..data.data_file import DataRequest

    return DataRequest(options.data, options.seed, options.data_root, input_contract(options), need_statistics)
