"""The folders on disk, the packages that setup.py finds and the files in the wheel are the same."""

from __future__ import annotations

import ast
import email
import importlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from places import ROOT
from project_sources import AREAS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOT_SHIPPED = {".ci", "docs", "tests"}
MOST_MODULES = 15  # in one folder; beyond that nobody reads a list


def test_the_top_level_packages_are_those_that_setup_maps() -> None:
    on_disk = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert on_disk == set(AREAS)
    (folders,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
    )
    assert folders == {("kda_edge" if area == "kda_edge" else f"kda_edge.{area}"): area for area in AREAS}


def test_the_top_level_is_the_list_of_shipped_folders() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git clone: nobody knows which folders belong to the project")
    names = [name for name in done.stdout.split("\0") if (ROOT / name).is_file()]
    folders = {name.split("/")[0] for name in names if "/" in name}
    assert folders == set(AREAS) | NOT_SHIPPED


@pytest.mark.parametrize("area", AREAS)
def test_no_folder_lists_more_than_fifteen_modules(area: str) -> None:
    folders = {path.parent for path in (ROOT / area).rglob("*.py")}
    assert {f.relative_to(ROOT).as_posix(): n for f in folders if (n := len(list(f.glob("*.py")))) > MOST_MODULES} == {}


@pytest.mark.parametrize("area", AREAS)
def test_each_folder_with_modules_is_a_package(area: str) -> None:
    """Without `__init__.py` it would import from an editable install and be missing from the wheel."""
    folders = {path.parent for path in (ROOT / area).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_git_ignores_no_module() -> None:
    """What a line of .gitignore hides is on the disk that wrote it and in no clone, and ruff passes over it."""
    command = ["git", "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *AREAS, "tests"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git clone: nobody knows what git ignores")
    assert [name for name in done.stdout.split("\0") if name.endswith(".py")] == []


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it is released: made from the sdist, in a copy, so that no leftover of an older build slips in."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for area in AREAS:
        shutil.copytree(ROOT / area, copy / area, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "tests" / "project", copy / "tests" / "project", ignore=shutil.ignore_patterns("__pycache__")
    )
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    done = subprocess.run(command, cwd=copy.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = (copy / "dist").glob("*.whl")
    return path


def expected_files() -> set[str]:
    files = {"kda_edge/py.typed"}
    for area in AREAS:
        inside = "kda_edge" if area == "kda_edge" else f"kda_edge/{area}"
        files |= {f"{inside}/{path.relative_to(ROOT / area).as_posix()}" for path in (ROOT / area).rglob("*.py")}
    for package, patterns in PYPROJECT["tool"]["setuptools"]["package-data"].items():
        _, area, *deeper = [*package.split("."), "kda_edge"] if package == "kda_edge" else package.split(".")
        folder = ROOT.joinpath(area, *deeper)
        inside = package.replace(".", "/")
        files |= {
            f"{inside}/{path.relative_to(folder).as_posix()}" for pattern in patterns for path in folder.glob(pattern)
        }
    return files


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    held = {name for name in names if ".dist-info/" not in name}
    assert held == expected_files()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"kda_edge"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_bundled_student_ships_in_the_wheel(wheel: Path) -> None:
    students = [path.name for path in (ROOT / "runtime" / "bundled").glob("*.onnx")]
    if not students:
        pytest.skip("no bundled student on disk yet: train and export one")
    with zipfile.ZipFile(wheel) as archive:
        for name in students:
            assert archive.read(f"kda_edge/runtime/bundled/{name}") == (ROOT / "runtime/bundled" / name).read_bytes()


@pytest.mark.slow
def test_the_wheel_asks_for_lean_dependencies_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        message = email.message_from_bytes(archive.read(metadata))
    plain = [r for r in message.get_all("Requires-Dist", []) if "extra ==" not in r]
    names = {requirement.split(">")[0].split("<")[0].strip() for requirement in plain}
    assert names == {"numpy", "onnxruntime", "opencv-python-headless", "rasterio"}
    assert message["Version"] == PYPROJECT["project"]["version"]


@pytest.mark.parametrize("command", sorted(PYPROJECT["project"]["scripts"]))
def test_each_command_leads_to_a_function(command: str) -> None:
    module, _, function = PYPROJECT["project"]["scripts"][command].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_what_ships_with_the_runtime_is_below_15_mb_and_a_clone_carries_50() -> None:
    bundled = ROOT / "runtime" / "bundled"
    assert sum(path.stat().st_size for path in bundled.iterdir() if path.suffix != ".pt") < 15e6
    assert sum(path.stat().st_size for path in bundled.iterdir()) < 50e6
    assert (bundled / "example_scene.tif").stat().st_size < 2e6
