"""Configuration files: the settings of a run as TOML, read for `--config` and written into the run's folder.

A file holds up to three tables: `[data]`, what `--data` and its options say; `[distill]`, the fields of
`DistillConfig`; `[segment]`, those of `SegmentConfig`. docs/configuration.md lists all keys.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from kda_edge import __version__
from kda_edge.errors import ManifestError, UsageError
from kda_edge.manifest import InputContract, from_plain
from kda_edge.paths import exists, is_utf8, resolved
from kda_edge.whole_files import write_whole

from ..data.data_file import DataRequest
from ..loops.compute_choice import Compute
from ..loops.settings import RunSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG: Final = "config.toml"  # in a run's folder
TABLES: Final = ("data", "distill", "segment")
FILES: Final = ("init", "backbone", "encoder_weights", "teacher_weights", "discriminator_weights")  # settings

_T = TypeVar("_T")


@dataclass(frozen=True)
class DataTable:
    """Imagery of a run, as `--data` and its options declare it.

    Attributes:
        path: data file, folder, or for phase 1 an image, as `--data`.
        root: folder that a data file's sources are relative to, as `--data-root`; empty: the file's own.
        input: pixels of a folder or an image; left out: 8-bit RGB, and of a data file what it declares itself.
    """

    path: str
    root: str = ""
    input: InputContract | None = None

    def request(self, seed: int) -> DataRequest:
        """Return the request for this imagery, split at random by a seed where it is."""
        return DataRequest(Path(self.path), seed, Path(self.root) if self.root else None, self.input)


def read_tables(path: Path | None) -> dict[str, dict[str, Any]]:
    """Read the tables of a configuration file; those that it does not have are empty.

    Args:
        path: TOML; None: no file, all tables empty.

    Raises:
        UsageError: missing, not TOML, or with another table; it is named.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"there is no config {path}") from error
        except IsADirectoryError as error:
            raise UsageError(f"{path} is a folder, and --config takes a file; name one, such as {CONFIG}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not TOML: {error}") from error
    for name, table in content.items():
        if name not in TABLES or not isinstance(table, dict):
            raise UsageError(f"{path} may hold the tables [data], [distill] and [segment], not {name!r}")
    return {name: content.get(name, {}) for name in TABLES}


def settings_from_table(kind: type[_T], table: Mapping[str, Any], *, where: str, path: Path | None) -> _T:
    """Return the settings that a table holds, the others at their defaults.

    Args:
        kind: of the settings.
        table: by field.
        where: name of the table, for messages.
        path: of the file, for messages; None: the table was made of options.

    Raises:
        UsageError: an unknown field, or a value that can't be right; it is named.
    """
    try:
        return from_plain(kind, dict(table), where=where)
    except ManifestError as error:
        raise UsageError(f"{path or 'the options'}: {error}") from error


def write_config(
    out: Path, table: str, config: RunSettings, *, compute: Compute, request: DataRequest | None, command: str
) -> None:
    """Write the resolved settings of a run into its folder: with `--config` they repeat it.

    What a trial chose is written in place of `auto`, and paths that are not relative to the present folder.

    Args:
        out: folder of the run.
        table: `distill` or `segment`.
        config: all settings.
        compute: what the run computes in.
        request: for the imagery; None, or with another seed: `--data` must be given again.
        command: that began the run; empty: none.

    Raises:
        OSError: it can't be written.
    """
    files = {name: getattr(config, name, "") for name in FILES}
    settled: dict[str, Any] = {"precision": compute.precision, "memory_format": compute.memory_format}
    settled |= {name: str(resolved(Path(file))) for name, file in files.items() if file and exists(Path(file))}
    lines = [
        f"# Resolved settings of a run of kda-edge {__version__}; docs/configuration.md tells what each key means."
    ]
    lines += [f"# It was begun by: {_one_line(command)}"] if command else []
    lines += [f"# Repeat it with: kda-train {table} --config {CONFIG} --out NEW_FOLDER", ""]
    if request is not None and request.seed == config.seed and is_utf8(request.path):
        root = str(resolved(request.root)) if request.root else ""
        lines += toml_lines("data", DataTable(str(resolved(request.path)), root, request.input))
    # What is not UTF-8 can't be said in TOML: escaped, it is refused when it is read, and not another name.
    write_whole(
        out / CONFIG,
        "\n".join([*lines, *toml_lines(table, dataclasses.replace(config, **settled))]).encode(
            errors="backslashreplace"
        ),
    )


def toml_lines(name: str, settings: Any) -> Iterator[str]:
    """Yield a dataclass as a TOML table and the tables below it, line by line; what is None is left out."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    yield f"[{name}]"
    for key, value in values.items():
        if value is not None and not dataclasses.is_dataclass(value):
            yield f"{key} = {toml_value(value)}"
    yield ""
    for key, value in values.items():
        if dataclasses.is_dataclass(value):
            yield from toml_lines(f"{name}.{key}", value)


def toml_value(value: object) -> str:
    """Return a value of a setting as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    # JSON's strings are TOML's but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
