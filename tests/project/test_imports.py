"""What is imported from outside is declared, and the runtime works where torch can't be imported."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import ROOT
from project_sources import ALL_SOURCES, CORE, NEED_TORCH, dotted, imports, named, place, sources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NEED_ONNX = ("gather_sampling",)  # modules of the runtime that are imported where onnx was found, and not before
LEAN = {"numpy", "onnxruntime", "rasterio", "cv2"}  # the runtime's dependencies, by import name
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "pynvml": "nvidia-ml-py",
}  # where a distribution has another name than its package
EXTRAS = {
    "kda_edge": ["train"],
    "runtime": ["openvino", "tensorrt"],
    "train": ["train", "mlflow"],
    "export": ["export", "tensorrt"],
    "benchmarks": ["bench", "paper", "peers"],
}


def tops(area: str, path: Path) -> set[str]:
    """Return the top-level packages that a module imports."""
    return {name.split(".")[0] for _, name, _ in imports(area, path)}


def needs_torch(path: Path) -> bool:
    """Whether a module of the core lies in one of the packages that may import torch."""
    return path.relative_to(ROOT / CORE).parts[0] in NEED_TORCH


TORCH_FREE_CORE = [path for path in sources(CORE) if not needs_torch(path)]


@pytest.mark.parametrize("path", TORCH_FREE_CORE, ids=named)
def test_the_core_needs_only_itself_and_lean_packages_outside_of_networks_and_decoders(path: Path) -> None:
    assert tops(CORE, path) <= sys.stdlib_module_names | LEAN | {CORE}
    places = [place(name) for _, name, _ in imports(CORE, path)]
    assert [where for where in places if where is not None and where[1] in NEED_TORCH] == []


@pytest.mark.parametrize("package", sorted(NEED_TORCH))
def test_a_package_that_may_import_torch_does(package: str) -> None:
    assert any("torch" in tops(CORE, path) for path in (ROOT / CORE / package).glob("*.py"))


def declared(area: str) -> set[str]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(r for extra in EXTRAS[area] for r in extras[extra])]
    return {re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


@pytest.mark.parametrize(("area", "path"), ALL_SOURCES, ids=named)
def test_whatever_is_imported_is_declared_in_pyproject(area: str, path: Path) -> None:
    foreign = tops(area, path) - sys.stdlib_module_names - {CORE, "__future__"}
    assert {DISTRIBUTIONS.get(top, top).lower().replace("_", "-") for top in foreign} <= declared(area)


@pytest.mark.parametrize("path", sources("runtime"), ids=named)
def test_the_runtime_imports_lean_packages_only(path: Path) -> None:
    """Optional engines are imported where they are used; nothing else may creep in."""
    optional = {"openvino", "tensorrt", "cuda", "pycuda", "onnx"}
    assert tops("runtime", path) <= sys.stdlib_module_names | LEAN | optional | {CORE}


BARRED = """
import importlib, sys

class Barrier:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {barred}:
            raise ModuleNotFoundError(f"{{name}} is barred", name=name)

sys.meta_path.insert(0, Barrier())
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    sys.exit("the barrier does not hold")
for name in {modules}:
    importlib.import_module(name)
from kda_edge.runtime.cli import main
try:
    status = main(["--help"])
except SystemExit as stop:
    status = stop.code
assert not status, status
print("lean")
"""


def test_the_runtime_and_its_command_work_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    core = [dotted(CORE, path) for path in TORCH_FREE_CORE]
    runtime = [dotted("runtime", path) for path in sources("runtime") if path.stem not in ("__main__", *NEED_ONNX)]
    assert len(core) > len(NEED_TORCH)
    assert len(runtime) > len(core)
    barred = {"torch", "torchvision", "onnx", "onnxscript", "onnxsim", "tqdm", "tensorboard", "scipy", "PIL", "yaml"}
    code = BARRED.format(barred=barred, modules=[*core, *runtime])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "lean"


MODULES = [dotted(area, path) for area, path in ALL_SOURCES if path.stem != "__main__"]  # which runs when imported


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    assert importlib.import_module(name).__name__ == name
