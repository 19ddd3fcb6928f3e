"""Text tables of results, with units and bounds; and where the JSON goes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kda_edge.errors import UsageError

from ..measuring.percentiles import Interval
from .result import Estimate, Result, write_result

TO_STDOUT: Final = "-"


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add `--json [FILE.json]` to a subcommand."""
    parser.add_argument(
        "--json",
        nargs="?",
        const=TO_STDOUT,
        metavar="FILE.json",
        help="end with one line of JSON, or write it to a file; the schema is benchmarks/result.schema.json",
    )


def require_json_path(given: str | None) -> None:
    """Raise `UsageError` where `--json` would write over a file that is no JSON, such as the model after it."""
    if given not in (None, TO_STDOUT) and not str(given).endswith(".json"):
        raise UsageError(f"--json takes a file that ends in .json, not {given}; put --json last to print it instead")


def publish(result: Result, table: str, *, json_to: str | None) -> None:
    """Print the table, the notes and the estimates, then the JSON to where it was asked for.

    Raises:
        OutputError: the file can't be written.
    """
    print(table)
    if not result.steady:
        print("\nNOT STEADY: the machine was too restless for these figures to decide anything.")
    for note in result.notes:
        print(f"- {note}")
    if result.estimates:
        print(f"\nEstimates, computed and not measured:\n{estimates_table(result.estimates)}")
    if json_to == TO_STDOUT:
        print(result.to_json(), flush=True)
    elif json_to is not None:
        write_result(result, Path(json_to))
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
