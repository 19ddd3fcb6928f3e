"""The names that a program imports from `kda_edge.runtime`: each is there, explained, and in the documents."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys

import pytest
from places import ROOT

import kda_edge.runtime

DOOR = ROOT / "runtime" / "__init__.py"
NAMES = kda_edge.runtime.__all__
DOCUMENTS = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def for_type_checkers() -> dict[str, str]:
    """Return the module of each name that only a type checker sees imported."""
    tree = ast.parse(DOOR.read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"{'.' * node.level}{node.module}" for node in imports for alias in node.names}


def test_the_table_of_modules_and_what_a_type_checker_sees_are_the_names() -> None:
    assert sorted(NAMES) == sorted(kda_edge.runtime._MODULES)
    assert for_type_checkers() == kda_edge.runtime._MODULES
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_imports_is_explained_and_stands_in_the_documents(name: str) -> None:
    found = getattr(kda_edge.runtime, name)
    assert found.__name__ == name
    assert found.__module__ == importlib.util.resolve_name(kda_edge.runtime._MODULES[name], "kda_edge.runtime")
    assert inspect.getdoc(found), "no docstring"
    assert not (inspect.getdoc(found) or "").startswith(f"{name}("), "the signature that dataclass writes"
    assert re.search(rf"\b{name}\b", DOCUMENTS)


@pytest.mark.parametrize("name", NAMES)
def test_no_module_of_the_folder_hides_a_public_name(name: str) -> None:
    """Importing a module sets its name in its package, whatever a function there is called."""
    assert importlib.util.find_spec(f"kda_edge.runtime.{name}") is None


def test_each_name_is_found_whatever_was_imported_before() -> None:
    code = f"""
import importlib, pkgutil, kda_edge.runtime as door
for found in pkgutil.walk_packages(door.__path__, door.__name__ + "."):
    if not found.name.endswith(("__main__", "cuda_pycuda")):
        importlib.import_module(found.name)
for name in {NAMES}:
    assert getattr(door, name).__name__ == name, name
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Segmentor"):
        kda_edge.runtime.Segmentor  # noqa: B018
