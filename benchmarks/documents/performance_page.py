"""Write the measured figures into docs/performance.md and the README, so that no number is typed by hand.

    python -m kda_edge.benchmarks.documents.performance_page          write them
    python -m kda_edge.benchmarks.documents.performance_page --check  fail if a page says otherwise

A page marks where a table goes with `<!-- performance: KIND NAME -->` and `<!-- end -->`: KIND is one of
`performance_tables.TABLES`, NAME a file of `benchmarks/results/` without its ending. KIND may be `gpu`: NAME is then a
part of the GPU reports in `benchmarks/results/gpu/`, and there is a table for each card. A result that is not there is
said to be not yet measured; nothing is ever put in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kda_edge.commands import ended

from .gpu_tables import FOLDER, gpu_tables
from .marked_tables import fill_documents
from .performance_tables import TABLES

PAGES: Final = ("docs/performance.md", "README.md")
RESULTS: Final = Path("benchmarks/results")
NOT_YET: Final = "Not yet measured."


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 where `--check` finds a page that differs from the results."""
    return ended("performance_page", lambda: fill_documents(argv, __doc__, PAGES, "performance", table))


def table(kind: str, name: str, results: Path = RESULTS) -> str:
    """Return the table of a result, or that there is none yet.

    Raises:
        UsageError: a result that can't be read, or is no GPU's and would be shown as one.
        KeyError: a kind that there is no table of.
    """
    if kind == FOLDER:
        return gpu_tables(results / FOLDER, name)
    path, make = results / f"{name}.json", TABLES[kind]
    return make(path) if path.is_file() else NOT_YET


if __name__ == "__main__":
    raise SystemExit(main())
