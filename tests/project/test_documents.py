"""Documents lead a reader: one list of all pages, a short README, and no name of a module that is not there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from places import ROOT
from project_sources import AREAS

DOCS = ROOT / "docs"
LINES_OF_THE_README = 140
# Old entries tell what was; what was moved is listed as it was called.
HISTORY = {ROOT / "CHANGELOG.md", DOCS / "log.md"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
PRESENT = [page for page in PAGES if page not in HISTORY]
FOLDERS = "|".join((*AREAS, "tests", "docs"))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_the_index_lists_every_page_in_a_line_and_no_other() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[[^]]+\]\(([\w/.-]+\.md)\) \| .{20,} \|$", index, flags=re.MULTILINE)
    assert len(set(listed)) == len(listed)
    assert sorted(listed) == sorted(
        name_of(page).removeprefix("docs/") for page in PAGES if page.is_relative_to(DOCS) and page != DOCS / "index.md"
    )


def test_the_readme_is_short_and_leads_to_the_index() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_OF_THE_README
    assert "](docs/index.md)" in text


def anchors(page: Path) -> set[str]:
    """Return what GitHub names the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(([\w./-]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    targets = [(page.parent / name if name else page, anchor) for name, anchor in links]
    assert [f"{target.name}#{anchor}" for target, anchor in targets if anchor not in anchors(target)] == []


def test_an_anchor_is_the_heading_in_small_letters_without_its_signs(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# JetPack 6.2 (Orin)\n\ntext # no heading\n\n## `kda-infer`: a *map*\n")
    assert anchors(tmp_path / "page.md") == {"jetpack-62-orin", "kda-infer-a-map"}


def missing(text: str) -> list[str]:
    """Return the files and modules of this project that a text names and that are not there."""
    files = re.findall(rf"(?<![\w/.:-])((?:{FOLDERS})/[\w/.-]+\.(?:py|toml|json|md))\b", text)
    modules = re.findall(r"(?:-m |from |import )(kda_edge[\w.]*)", text)
    gone = [name for name in files if not (ROOT / name).is_file()]
    return gone + [name for name in modules if not is_module(name)]


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_every_file_and_module_that_a_document_names_is_there(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("`runtime/segmenter.py` and `python -m kda_edge.train`, docs/field.md, runs/a/b.py", []),
        ("see `runtime/cli_video.py`", ["runtime/cli_video.py"]),
        ("`tests/house/test_imports.py`:", ["tests/house/test_imports.py"]),
        ("python -m kda_edge.benchmarks.tables --check", ["kda_edge.benchmarks.tables"]),
        ("from kda_edge.runtime.merge import merge_shards", ["kda_edge.runtime.merge"]),
    ],
)
def test_a_name_that_has_moved_is_found(text: str, gone: list[str]) -> None:
    assert missing(text) == gone


def test_the_page_on_architecture_names_only_modules_that_are_there() -> None:
    """There, a path begins at the folder that its sentence is about: each must end one of the project's files."""
    text = re.sub(r"<!-- architecture.*?<!-- end -->", "", (DOCS / "architecture.md").read_text(), flags=re.DOTALL)
    here = [path.relative_to(ROOT).as_posix() for area in (*AREAS, "tests") for path in (ROOT / area).rglob("*.py")]
    named = [name for name in re.findall(r"`([\w/]+\.py)`", text) if name != "setup.py"]
    assert len(named) > 40
    assert [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in here)] == []
