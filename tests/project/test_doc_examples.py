"""Python in the documents imports public names only, so that no move of a module breaks a reader's program."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

import kda_edge.runtime

PUBLIC = {"kda_edge.runtime", "kda_edge.errors"}
PAGES = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if "```python" in path.read_text("utf-8")
)


def examples(text: str) -> list[str]:
    """Return the Python programs of a page."""
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def not_public(text: str) -> Iterator[str]:
    """Yield what the programs of a page import of the project and may not."""
    for node in (node for code in examples(text) for node in ast.walk(ast.parse(code))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "kda_edge")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kda_edge":
            door = kda_edge.runtime.__all__ if node.module == "kda_edge.runtime" else None
            for alias in node.names:
                if node.module not in PUBLIC or (door is not None and alias.name not in door):
                    yield f"{node.module}.{alias.name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_programs_of_a_page_import_public_names_only(path: Path) -> None:
    assert list(not_public(path.read_text(encoding="utf-8"))) == []


def test_the_pages_for_programmers_are_among_them() -> None:
    assert {"README.md", "embedding.md", "field.md", "devices.md", "precision.md"} <= {path.name for path in PAGES}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from kda_edge.runtime.runs.shards import Shard", ["kda_edge.runtime.runs.shards.Shard"]),
        ("from kda_edge.runtime import open_engines", ["kda_edge.runtime.open_engines"]),
        ("import kda_edge.tiling.predict", ["kda_edge.tiling.predict"]),
        ("from kda_edge.runtime import Segmenter", []),
    ],
)
def test_a_planted_import_is_found(line: str, found: list[str]) -> None:
    assert list(not_public(f"Text\n```python\n{line}\n```\n")) == found
