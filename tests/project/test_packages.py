"""Who may import whom inside each of the five folders (docs/adr/0001): a package names those below it, nobody else.

To add a package or a module beside the packages: a row in `MAY_USE`, with what it may name. To let one name another:
its name in that row. The rows of a folder must stay free of circles, which a test sees to.
"""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest
from places import ROOT
from project_sources import ALL_SOURCES, AREAS, CORE, NEED_TORCH, imports, named, package_of, place, sources

VALUES = {"results", "map_format"}  # plain values, which import nothing of ours

# A package, or a module directly in the folder, and what of the same folder it may import.
MAY_USE: dict[str, dict[str, set[str]]] = {
    "kda_edge": {
        "__init__": set(),
        "errors": set(),
        "metrics": set(),
        "machine": {"__init__"},
        "quiet_logger": set(),
        "whole_files": {"errors"},
        "artifact_bytes": {"errors"},
        "certificate": {"errors"},
        "manifest": {"__init__", "certificate", "errors"},
        "tiling": {"errors"},
        "decoders": set(),
        "networks": {"__init__", "decoders", "manifest", "errors", "quiet_logger", "whole_files"},
    },
    "runtime": {
        "results": set(),
        "map_format": set(),
        "hardware": set(),
        "geo": set(),
        "scenes": {"geo", "map_format"},
        "polygons": {"geo"},
        "engines": {"hardware"},
        "tensorrt": {"engines", "hardware"},
        "open_engine": {"tensorrt", "engines", "hardware"},
        "mapping": {"scenes", *VALUES},
        "streams": {"scenes", "results"},
        "outputs": {"mapping", "polygons", "scenes", "geo", *VALUES},
        "runs": {"outputs", "mapping", "scenes", "geo", *VALUES},
        "segmenter": {"open_engine", "engines", "runs", "mapping", "streams", "scenes", "results"},
        "video": {"segmenter", "streams", "outputs", "scenes", "geo", "map_format"},
        "cli": {"segmenter", "video", "streams", "runs", "outputs", "engines", "results"},
        "__init__": {"segmenter", "open_engine", "engines", "runs", "streams", "results"},
        "__main__": {"cli"},
    },
    "train": {
        "__init__": set(),
        "data": set(),
        "loops": {"data"},
        "distillation": {"data", "loops"},
        "segmentation": {"data", "loops"},
        "figures": {"data", "loops", "distillation", "segmentation"},
        "fit": {"data", "loops", "distillation", "segmentation"},
        "cli": {"data", "loops", "distillation", "segmentation", "figures", "fit"},
        "__main__": {"cli"},
    },
    "export": {
        "__init__": set(),
        "config": set(),
        "artifact_file": set(),
        "lint": set(),
        "graphs": {"lint"},
        "tiles": {"config"},
        "portable": {"lint"},
        "precision": {"graphs", "lint", "tiles"},
        "verifying": {"graphs", "lint", "precision", "tiles"},
        "portable_check": {"tiles", "verifying"},
        "lower_precision": {"config", "precision", "tiles", "verifying"},
        "pipeline": {
            *("artifact_file", "config", "graphs", "lint", "lower_precision", "portable", "portable_check"),
            *("tiles", "verifying"),
        },
        "cli": {"config", "pipeline"},
        "__main__": {"cli"},
    },
    "benchmarks": {
        "__init__": set(),
        "measuring": set(),
        "paper": set(),
        "reporting": {"measuring"},
        "sensors": {"reporting"},
        "contestants": {"measuring"},
        "contest": {"contestants", "reporting", "sensors", "measuring"},
        "commands": {"contest", "contestants", "sensors", "reporting", "measuring"},
        "studies": {"paper", "reporting", "measuring"},
        "documents": {"contest", "reporting", "measuring"},
        "cli": {"commands"},
    },
}
# What each folder may name of the others; of the runtime not all: the rest of it is its own business.
MAY_NAME: dict[str, set[str]] = {
    "kda_edge": set(),
    "runtime": {"kda_edge"},
    "train": {"kda_edge"},
    "export": {"kda_edge", "runtime"},
    "benchmarks": {"kda_edge", "runtime"},
}
DOORS = {
    "export": {"open_engine", "engines", "scenes", "geo", "mapping"},
    "benchmarks": {"__init__", "segmenter", "open_engine", "engines", "hardware", "scenes", "geo", "mapping"},
}


def wrong_arrows(area: str, path: Path, root: Path = ROOT) -> list[str]:
    """Return what a module imports and may not, a line each."""
    here, found = package_of(area, path, root), []
    for line, name, _ in imports(area, path, root):
        where = place(name, root)
        if where is None or where == (area, here):
            continue
        other, package = where
        if other == area:
            allowed = package in MAY_USE[area].get(here, set())
        else:
            allowed = other in MAY_NAME[area] and (other == CORE or package in DOORS[area])
            allowed = allowed and not (area == "runtime" and package in NEED_TORCH)
        if not allowed:
            found.append(f"{path.relative_to(root)}:{line}: {here} may not import {name}")
    return found


def unknown_packages(area: str, root: Path = ROOT) -> set[str]:
    """Return the packages and modules of a folder that nobody has entered in the table."""
    return {package_of(area, path, root) for path in sources(area, root)} - set(MAY_USE[area])


def without_a_docstring(area: str, root: Path = ROOT) -> list[str]:
    """Return the packages that don't say in `__init__.py` what they are."""
    inits = [path for path in sources(area, root) if path.name == "__init__.py"]
    silent = [path for path in inits if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    return [path.relative_to(root).as_posix() for path in silent]


@pytest.mark.parametrize("area", AREAS)
def test_no_package_can_reach_itself(area: str) -> None:
    graphlib.TopologicalSorter(MAY_USE[area]).prepare()


@pytest.mark.parametrize("area", AREAS)
def test_each_package_is_in_the_table_and_says_what_it_is(area: str) -> None:
    assert unknown_packages(area) == set()
    assert without_a_docstring(area) == []
    assert set(MAY_USE[area]) - {package_of(area, path) for path in sources(area)} == set(), "gone from the disk"


@pytest.mark.parametrize(("area", "path"), ALL_SOURCES, ids=named)
def test_a_module_imports_what_its_package_may(area: str, path: Path) -> None:
    assert wrong_arrows(area, path) == []


@pytest.mark.parametrize(("area", "path"), ALL_SOURCES, ids=named)
def test_imports_are_relative_inside_a_folder_and_absolute_to_others(area: str, path: Path) -> None:
    for line, name, node in imports(area, path):
        level = node.level if isinstance(node, ast.ImportFrom) else 0
        where = place(name)
        assert level <= len(path.relative_to(ROOT / area).parts), f"{named(path)}:{line} climbs out of its folder"
        if area == CORE:
            assert level == 0, f"{named(path)}:{line}: inside the core, import kda_edge by name"
        elif level == 0 and where is not None:
            assert where[0] != area, f"{named(path)}:{line}: import it relatively"


@pytest.mark.parametrize(
    ("area", "module", "text"),
    [
        ("runtime", "scenes/planted.py", "from ..runs.journal import Journal\n"),
        ("runtime", "scenes/planted.py", "def f():\n    from .. import segmenter\n"),
        ("runtime", "engines/planted.py", "import kda_edge.train.fit\n"),
        ("runtime", "engines/planted.py", "from kda_edge.networks import checkpoint\n"),
        ("export", "graphs/planted.py", "from kda_edge.runtime.video import map_video\n"),
        ("kda_edge", "planted.py", "from kda_edge.runtime import Segmenter\n"),
    ],
)
def test_a_planted_wrong_arrow_is_found(area: str, module: str, text: str, tmp_path: Path) -> None:
    planted = planted_tree(tmp_path, area, module, text)
    assert len(wrong_arrows(area, planted, tmp_path)) == 1


def test_a_package_that_nobody_entered_or_that_says_nothing_is_found(tmp_path: Path) -> None:
    planted_tree(tmp_path, "runtime", "cluster/__init__.py", "")
    assert unknown_packages("runtime", tmp_path) == {"cluster"}
    assert without_a_docstring("runtime", tmp_path) == ["runtime/cluster/__init__.py"]


def planted_tree(folder: Path, area: str, module: str, text: str) -> Path:
    """Make the folders of the project, empty but for one module."""
    for name, rows in MAY_USE.items():
        for row in rows:
            (folder / name / row).mkdir(parents=True, exist_ok=True)
    path = folder / area / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
