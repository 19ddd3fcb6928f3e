"""Text tables of results, with units and bounds; and where the JSON goes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import OutputError, UsageError, one_line
from kda_edge.paths import is_dir
from kda_edge.whole_files import try_folder

from ..measuring.percentiles import Interval
from .result import SCHEMA, Estimate, Result, json_text, write_json

TO_STDOUT: Final = "-"


def add_json_option(parser: argparse.ArgumentParser, form: str = f"the schema is benchmarks/{SCHEMA}") -> None:
    """Add `--json [FILE.json]` to a subcommand; `form` says of which form the JSON is."""
    parser.add_argument(
        "--json",
        nargs="?",
        const=TO_STDOUT,
        metavar="FILE.json",
        help=f"end with one line of JSON, or write it to a file; {form}",
    )


def require_json_path(given: str | None) -> None:
    """Refuse a `--json` that can't be written, before anything is measured.

    Raises:
        UsageError: it would write over a file that is no JSON, such as the model after it.
        OutputError: its folder is missing or can't be written to.
    """
    if given not in (None, TO_STDOUT) and not str(given).endswith(".json"):
        raise UsageError(f"--json takes a file that ends in .json, not {given}; put --json last to print it instead")
    if given not in (None, TO_STDOUT):
        if not is_dir(Path(str(given)).parent):
            raise OutputError(f"there is no folder {Path(str(given)).parent}; make it, or give another --json")
        try:
            try_folder(Path(str(given)).parent)
        except OSError as error:
            raise OutputError(f"{given} can't be written ({one_line(error)}); give another --json") from error


def publish(result: Result, table: str, *, json_to: str | None) -> None:
    """Print the table, the notes and the estimates, then the JSON to where it was asked for.

    Raises:
        OutputError: the file can't be written.
    """
    lines = [table]
    if not result.steady:
        lines.append("\nNOT STEADY: the machine was too restless for these figures to decide anything.")
    lines += [f"- {note}" for note in result.notes]
    if result.estimates:
        lines.append(f"\nEstimates, computed and not measured:\n{estimates_table(result.estimates)}")
    publish_plain(dataclasses.asdict(result), "\n".join(lines), json_to=json_to)


def publish_plain(content: Mapping[str, Any], table: str, *, json_to: str | None) -> None:
    """Print a table, then the JSON of what it was made of to where it was asked for.

    Args:
        content: a study's own form, which its table in `documents.training_tables` reads, or that of a `Result`.
        table: for people.
        json_to: a file, `TO_STDOUT`, or None: nowhere.

    Raises:
        OutputError: the file can't be written.
    """
    print(table)
    if json_to == TO_STDOUT:
        print(json_text(content), flush=True)
    elif json_to is not None:
        write_json(content, Path(json_to))
        print(f"-> {json_to}")


def table_of(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, columns aligned; the first column to the left, all others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(cells[i].rjust(widths[i]) for i in range(1, len(widths)))]
        return f"| {' | '.join(padded)} |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def interval_text(interval: Interval, digits: int = 4) -> str:
    """Return `12.3 (12.1 .. 12.6)`; a bound that is not known is a question mark."""
    low, high = ("?" if bound is None else number_text(bound, digits) for bound in (interval.low, interval.high))
    return f"{number_text(interval.value, digits)} ({low} .. {high})"


def number_text(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits, and never as a power of ten below a billion."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return f"{float(text):,.0f}" if "e+" in text else text


def estimates_table(estimates: Sequence[Estimate]) -> str:
    """Return a table of estimates, each with how it was computed; never mixed with what was measured."""
    rows = [
        (" ".join([e.name, *(f"{k}={v}" for k, v in e.of.items())]), f"{number_text(e.value, 3)} {e.unit}", e.method)
        for e in estimates
    ]
    return table_of(("estimate", "value", "how it was computed"), rows)
