"""Fill docs/configuration.md with every key of the TOML files, and write the commented example beside it.

    make docs                                           write them, and every other generated table
    python tests/support/configuration_page.py --check  fail if they say otherwise than the code

Keys, defaults and meanings are those of the settings' dataclasses and their docstrings, so that the page can't promise
what the code does not do. It lies beside the tests because the options stand in parsers that only commands need.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Final

from places import ROOT

from kda_edge.benchmarks.documents.marked_tables import fill_documents
from kda_edge.manifest import InputContract
from kda_edge.train.cli import distill, segment
from kda_edge.train.configuration.config_file import DataTable, toml_value
from kda_edge.train.data.sources import Source
from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.whole_files import write_whole

PAGE: Final = "docs/configuration.md"
EXAMPLE: Final = "docs/fit_config.toml"
KINDS: Final[dict[str, type[Any]]] = {
    "data": DataTable,
    "distill": DistillConfig,
    "segment": SegmentConfig,
    "input": InputContract,
    "source": Source,
}
OPTIONS_OF: Final = {"distill": distill, "segment": segment}
# Options whose words are parts of a setting.
PARTS: Final = {
    "augmentation.scale": "scale",
    "augmentation.colour": "colour",
    "loss.landslide_weight": "landslide_weight",
    "teachers.checkpoints": "teacher_ckpt",
    "teachers.share": "teacher_share",
    "teachers.temperature": "temperature",
    **{f"loss.{part}": "loss" for part in ("cross_entropy", "focal", "dice")},
}
WIDTH: Final = 120


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of a table.

    Attributes:
        name: below the table, such as `loss.focal`.
        default: as TOML; empty: there is none, it must be given; `none`: it may be left out and has no value then.
        meaning: from the docstring.
        option: of the phase's command that says it, too; empty: none.
    """

    name: str
    default: str
    meaning: str
    option: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 where `--check` finds the page or the example to differ from the code."""
    words = sys.argv[1:] if argv is None else argv
    stale = fill_documents(words, __doc__, [str(ROOT / PAGE)], "configuration", keys_table, made_of="the code")
    example, text = ROOT / EXAMPLE, example_text()
    if example.is_file() and example.read_text(encoding="utf-8") == text:
        return stale
    print(f"{example} {'differs from' if '--check' in words else 'now agrees with'} the code")
    if "--check" in words:
        return 1
    write_whole(example, text.encode())
    return stale


def keys_table(table: str) -> str:
    """Return a row a key of a table."""
    with_options = table in OPTIONS_OF
    head = ["key", "default", "meaning", *(["option"] if with_options else [])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for key in keys_of(table):
        default = f"`{key.default}`" if key.default not in ("", "none") else key.default or "must be given"
        cells = [f"`{key.name}`", default, key.meaning.replace("|", "\\|")]
        cells += [f"`{key.option}`" if key.option else ""] if with_options else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def example_text() -> str:
    """Return a file for `--config` with every setting at its default, commented out below its meaning."""
    opening = (
        "Every setting of both phases at its default: kda-train fit --config fit_config.toml --data DATA --out DIR\n"
        "Take the sign # off before what you change; distill and segment take the file, too.\n"
        "Made from the code by `make docs`; docs/configuration.md tells the same as tables."
    )
    lines = [wrapped for line in opening.split("\n") for wrapped in _comment(line)]
    for table in ("distill", "segment"):
        lines += ["", f"[{table}]"]
        below = ""
        for key in keys_of(table):
            parent, _, name = key.name.rpartition(".")
            if parent != below:
                below = parent
                lines += ["", f"[{table}.{parent}]"]
            default = f"{name}: no value" if key.default == "none" else f"{name} = {key.default}"
            lines += ["", *_comment(key.meaning), f"# {default}"]
    return "\n".join(lines) + "\n"


def keys_of(table: str) -> Iterator[Key]:
    """Yield the keys of a table, those of tables below it last."""
    yield from _keys(KINDS[table], "", _options_of(table))


def _keys(kind: type[Any], above: str, options: dict[str, str]) -> Iterator[Key]:
    hints, said = typing.get_type_hints(kind), meanings(kind)
    below = []
    for field in dataclasses.fields(kind):
        name = f"{above}{field.name}"
        if dataclasses.is_dataclass(hints[field.name]):
            below.append((hints[field.name], name))
            continue
        yield Key(name, _default(field), said[field.name], options.get(PARTS.get(name, name), ""))
    for inner, name in below:
        yield from _keys(inner, f"{name}.", options)


def meanings(kind: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a dataclass and of those that it extends say of each field."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        section = inspect.cleandoc(one.__doc__ or "").partition("Attributes:\n")[2]
        for name, text in re.findall(r"^    (\w+): (.+?)(?=\n    \w|\n?\Z)", section, flags=re.DOTALL | re.MULTILINE):
            found[name] = " ".join(text.split())
    return found


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "{}" if field.default_factory is dict else ""
    if field.default is dataclasses.MISSING:
        return ""
    return "none" if field.default is None else toml_value(field.default)


def _options_of(table: str) -> dict[str, str]:
    """Return the options of a phase's own command by the field that they set."""
    if table not in OPTIONS_OF:
        return {}
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    OPTIONS_OF[table].add_commands(commands)
    return {action.dest: action.option_strings[0] for action in commands.choices[table]._actions}


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH - 2, break_long_words=False, break_on_hyphens=False)]


if __name__ == "__main__":
    raise SystemExit(main())
