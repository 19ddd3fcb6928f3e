"""Tables in documents, made from results: what stands between `<!-- MARK: WORDS -->` and `<!-- end -->`."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from kda_edge.whole_files import write_whole

WIDTH: Final = 120  # columns of prose in a document; rows of tables can't be broken


def filled(text: str, mark: str, table: Callable[..., str]) -> str:
    """Return the text with what stands below each `<!-- mark: words -->` made by `table(*words)`, its prose wrapped.

    Raises:
        TypeError: a marker with more or fewer words than `table` takes.
    """
    block = re.compile(rf"(<!-- {mark}: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(lambda match: f"{match[1]}{wrapped(table(*match[2].split()))}\n{match[3]}", text)


def wrapped(text: str) -> str:
    """Return Markdown with no line of prose longer than `WIDTH`; what goes on in an item of a list is indented."""
    return "\n".join(_broken(line) if len(line) > WIDTH and line[0] != "|" else line for line in text.split("\n"))


def _broken(line: str) -> str:
    glued = re.sub(r" (?=(?:[-+*>#]|\d+[.)]) )", "\0", line)  # at the start of a line these would begin a list
    indent = "  " if line.startswith("- ") else ""
    broken = textwrap.fill(glued, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return broken.replace("\0", " ")


def fill_documents(
    argv: Sequence[str] | None,
    about: str | None,
    documents: Sequence[str],
    mark: str,
    table: Callable[..., str],
    *,
    made_of: str = "the results",
) -> int:
    """Write the tables into documents; with `--check` only say which differ from what they are made of.

    Returns:
        1 where a document differs and is only checked, else 0.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a document differs")
    check = parser.parse_args(argv).check
    stale = []
    for path in map(Path, documents):
        before = path.read_text(encoding="utf-8")
        after = filled(before, mark, table)
        if after != before:
            stale.append(path)
            print(f"{path} {'differs from' if check else 'now agrees with'} {made_of}")
            if not check:
                write_whole(path, after.encode())
    return 1 if stale and check else 0
