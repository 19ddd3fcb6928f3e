"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kda_edge.errors import UsageError
from kda_edge.manifest import PIXEL_TYPES, InputContract

from ..loops.loggers import LOGGERS
from ..loops.settings import MEMORY_FORMATS, PRECISIONS, RunSettings

if TYPE_CHECKING:
    from ..data.data_file import DataRequest

_T = TypeVar("_T", bound=RunSettings)


def add_data(parser: argparse.ArgumentParser, *, configurable: bool = False) -> None:
    """Add the options that say where the imagery is and what it is.

    Args:
        parser: of the command.
        configurable: whether a configuration file may say it instead; then `--config` is added, too.
    """
    help_of_data = "TOML file or folder" + ("; default: that of --config" if configurable else "")
    parser.add_argument("--data", type=Path, required=not configurable, metavar="DATA", help=help_of_data)
    if configurable:
        parser.add_argument(
            "--config", type=Path, metavar="FILE", help="TOML with settings (docs/configuration.md); options win"
        )
    parser.add_argument(
        "--data-root", type=Path, metavar="DIR", help="where a TOML file's sources lie; default: beside it"
    )
    seed = None if configurable else 0
    parser.add_argument("--seed", type=int, default=seed, help="of random splits and of training; default 0")
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
    """Add the options that say what computes; what is not given has the default of its setting."""
    add = parser.add_argument
    add("--precision", choices=PRECISIONS, help="auto, the default: the fastest, by a trial of some seconds")
    add("--memory-format", choices=MEMORY_FORMATS, help="auto, the default: the fastest, by the same trial")
    add("--device", help="auto, the default; cpu, cuda or cuda:1")
    add("--workers", type=int, help="processes that prepare crops; default 2")
    add("--threads", type=int, help="CPU threads of the network; default: PyTorch's choice")
    recompute = "gradient checkpointing: less memory, more time, the same weights"
    add_loggers(parser)
    add("--recompute", action="store_true", default=None, help=recompute)


def add_loggers(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where each epoch's figures go."""
    said = f"of each epoch's figures: {', '.join(LOGGERS)}; metrics.csv is always written; default tensorboard"
    parser.add_argument("--logger", nargs="+", dest="loggers", choices=LOGGERS, metavar="LOGGER", help=said)


def settings_from(config: _T, options: argparse.Namespace, **made: Any) -> _T:
    """Return the settings of a phase with what its options say in place of what a configuration file said.

    Args:
        config: of the file; its own defaults where there is none.
        options: of the command, each of the name of its field; None: it is not given.
        made: fields that are no option's value as it stands; `augmentation` is made here.

    Raises:
        UsageError: settings that can't be right.
    """
    said = {field.name: getattr(options, field.name, None) for field in fields(config) if field.name not in made}
    parts = {name: getattr(options, name) for name in ("scale", "colour")}
    varied = replace(config.augmentation, **_given(parts))
    return replace(config, **{**_given(said), "augmentation": varied, **made})


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, lists as tuples."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


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


def configured_data(options: argparse.Namespace, table: Mapping[str, Any], seed: int) -> DataRequest:
    """Return the request for imagery that the options make, or where they name none the `[data]` of a configuration.

    Args:
        options: of `add_data`.
        table: `[data]`.
        seed: of the run.

    Raises:
        UsageError: no imagery is named, or a part of it where the rest is another place's to say.
    """
    from ..configuration.config_file import DataTable, settings_from_table
    from ..data.data_file import DataRequest

    declared = input_contract(options)
    if options.data is not None:
        return DataRequest(options.data, seed, options.data_root, declared)
    if not table:
        raise UsageError("no imagery is named; give --data, or a --config with [data]")
    if options.data_root is not None or declared is not None:
        raise UsageError("--data-root, and options that declare the imagery, are about --data; give it as well")
    return settings_from_table(DataTable, table, where="data", path=options.config).request(seed)
