"""The page on architecture is made from the rules that imports are held to, and from the packages' docstrings."""

from __future__ import annotations

import itertools

import architecture_page
import pytest
from architecture_page import COMMANDS, DUNDERS, first_sentence, layers, packages_table, picture, section
from import_rules import DOORS, MAY_NAME, MAY_USE
from places import ROOT
from project_sources import AREAS, CORE

from kda_edge.benchmarks.documents.marked_tables import filled

PAGE = ROOT / architecture_page.PAGE
BORDERS = str.maketrans("├┤▶◀┌┐└┘─", " " * 9)


def test_the_page_says_what_the_code_says() -> None:
    assert architecture_page.main(["--check"]) == 0
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- architecture: picture -->") == 1
    assert [folder for folder in AREAS if f"<!-- architecture: packages {folder} -->" not in text] == []


@pytest.mark.parametrize("said", ["│ segmenter ", "[`segmenter.py`]", "`Segmenter`, the class that people embed"])
def test_a_page_that_says_otherwise_is_put_right(said: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(said) == 1
    assert filled(text.replace(said, said.upper()), "architecture", section) == text


@pytest.mark.parametrize("folder", AREAS)
def test_every_package_stands_in_one_layer_and_above_all_that_it_may_import(folder: str) -> None:
    floors = layers(folder)
    assert sorted(itertools.chain(*floors)) == sorted(set(MAY_USE[folder]) - set(DUNDERS))
    height = {name: -depth for depth, names in enumerate(floors) for name in names}
    ground = min(height.values())
    for name, floor in height.items():
        below = [height[lower] for lower in MAY_USE[folder][name] - set(DUNDERS)]
        assert floor == max(below, default=ground - 1) + 1


def test_the_picture_shows_each_package_in_its_folders_box_and_fits_a_page() -> None:
    fence, commands, roof, *lines, end = picture().splitlines()
    assert (fence, end) == ("```", "```")
    assert commands.split() == list(COMMANDS.values())
    assert {len(line) for line in lines if line[0] in "│├┌└"} == {len(roof)}
    assert len(roof) <= 120
    edges = [at for at, sign in enumerate(roof) if sign in "┌┐"]
    for folder, first, last in zip(COMMANDS, edges[::2], edges[1::2], strict=True):
        inside = " ".join(line[first + 1 : last].translate(BORDERS) for line in lines[: _core_begins(lines)])
        assert inside.replace("│", " ").replace("▼", " ").split() == [folder, *itertools.chain(*layers(folder))]
    core = " ".join(lines[_core_begins(lines) :]).translate(BORDERS).replace("│", " ").split()
    assert core == [CORE, "(the", "core)", *itertools.chain(*layers(CORE))]


def _core_begins(lines: list[str]) -> int:
    return next(number for number, line in enumerate(lines) if line.startswith("┌"))


def test_arrows_lead_to_where_a_folder_may_import_from_and_all_lead_to_the_core() -> None:
    titles = picture().splitlines()[3].replace("├───▶│", " > ").replace("│◀───┤", " < ").replace("│", " ").split()
    assert titles == ["train", "export", ">", "runtime", "<", "benchmarks"]
    assert {name: MAY_NAME[name] - {CORE} for name in COMMANDS} == {
        "train": set(),
        "export": {"runtime"},
        "runtime": set(),
        "benchmarks": {"runtime"},
    }
    assert all(CORE in MAY_NAME[name] for name in COMMANDS)
    assert picture().count("▼") == len(COMMANDS)


@pytest.mark.parametrize("folder", AREAS)
def test_a_row_names_a_package_what_it_is_what_it_may_import_and_who_else_may_import_it(folder: str) -> None:
    rows = {row.split("[`")[1].split("`]")[0]: row for row in packages_table(folder).splitlines()[2:]}
    assert {name.removesuffix(".py").rstrip("/") for name in rows} == set(MAY_USE[folder]) - set(DUNDERS)
    for shown, row in rows.items():
        name = shown.removesuffix(".py").rstrip("/")
        assert (ROOT / folder / shown).is_dir() == shown.endswith("/")
        assert first_sentence(folder, name) in row
        used = row.removesuffix(" |").split(" | ")[2]
        assert set(used.split(", ")) - {"nothing"} == MAY_USE[folder][name] - set(DUNDERS)
        if folder == "runtime":
            assert [other for other in DOORS if other in row.split(" | ")[3]] == [o for o in DOORS if name in DOORS[o]]


def test_the_first_sentence_is_that_of_the_docstring() -> None:
    assert first_sentence("runtime", "outputs") == (ROOT / "runtime/outputs/__init__.py").read_text().split('"""')[1]
    assert first_sentence(CORE, "errors").startswith("Every error that a user of kda-edge can cause")
