"""Write the measured figures into docs/performance.md and the README, so that no number is typed by hand.

    python -m kda_edge.benchmarks.performance_page          write them
    python -m kda_edge.benchmarks.performance_page --check  fail if a page says otherwise

A page marks where a table goes with `<!-- performance: KIND NAME -->` and `<!-- end -->`: KIND is one of
`kda_edge.benchmarks.performance_tables.TABLES`, NAME a file of `benchmarks/results/` without its ending. A result that
is not there is said to be not yet measured; nothing is ever put in its place.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .performance_tables import TABLES

PAGES: Final = ("docs/performance.md", "README.md")
RESULTS: Final = Path("benchmarks/results")
BLOCK: Final = re.compile(r"(<!-- performance: (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_YET: Final = "Not yet measured."


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 where `--check` finds a page that differs from the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(argv)
    stale = []
    for name in PAGES:
        page = Path(name)
        before = page.read_text(encoding="utf-8")
        after = filled(before, RESULTS)
        if after != before:
            stale.append(name)
            if not options.check:
                page.write_text(after, encoding="utf-8")
    for name in stale:
        print(f"{name} {'differs from' if options.check else 'now agrees with'} {RESULTS}")
    return 1 if stale and options.check else 0


def filled(text: str, results: Path) -> str:
    """Return the text with every marked table made from its result.

    Raises:
        UsageError: a result that can't be read.
        KeyError: a kind that there is no table of.
    """

    def table(match: re.Match[str]) -> str:
        make = TABLES[match[2]]
        path = results / f"{match[3]}.json"
        made = make(path) if path.is_file() else NOT_YET
        return f"{match[1]}{made}\n{match[4]}"

    return BLOCK.sub(table, text)


if __name__ == "__main__":
    raise SystemExit(main())
