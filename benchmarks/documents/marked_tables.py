"""Tables in documents, made from results: what stands between `<!-- MARK: WORDS -->` and `<!-- end -->`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from kda_edge.whole_files import write_whole


def filled(text: str, mark: str, table: Callable[..., str]) -> str:
    """Return the text with what stands below each `<!-- mark: words -->` made by `table(*words)`.

    Raises:
        TypeError: a marker with more or fewer words than `table` takes.
    """
    block = re.compile(rf"(<!-- {mark}: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(lambda match: f"{match[1]}{table(*match[2].split())}\n{match[3]}", text)


def fill_documents(
    argv: Sequence[str] | None, about: str | None, documents: Sequence[str], mark: str, table: Callable[..., str]
) -> int:
    """Write the tables into documents; with `--check` only say which differ, and return 1 if any does."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a document differs")
    check = parser.parse_args(argv).check
    stale = []
    for path in map(Path, documents):
        before = path.read_text(encoding="utf-8")
        after = filled(before, mark, table)
        if after != before:
            stale.append(path)
            print(f"{path} {'differs from' if check else 'now agrees with'} the results")
            if not check:
                write_whole(path, after.encode())
    return 1 if stale and check else 0
