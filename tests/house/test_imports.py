"""Who may import whom (docs/adr/0001), read off the source, and a runtime that works where torch can't be imported."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOMS = ("train", "export", "runtime", "benchmarks")
MAY_IMPORT = {
    "core": set(),
    "runtime": {"core"},
    "train": {"core"},
    "export": {"core", "runtime"},
    "benchmarks": {"core", "runtime"},
}
# A new module of the core is put into one of these on purpose: the runtime is given the first kind only.
TORCH_FREE_CORE = {
    *("__init__", "errors", "manifest", "certificate", "artifact_bytes", "machine"),
    *("source", "tiles", "tile_stream", "answers", "blend", "nodata", "predict", "metrics"),
}
TORCH_CORE = {
    "pvt",
    "dysample",
    "dcf",
    "heads",
    "network",
    "student",
    "peers",
    "architectures",
    "checkpoint",
    "hamburger",
    "head_layers",
    "head_segformer",
    "head_segnext",
    "head_unet",
    "head_upernet",
    "pyramid_pooling",
    "aspp",
    "encoder_weights",
    "library_decoders",
    "mffenet",
    "mscan",
    "segnext",
    "weights_file",
}

LEAN = {"numpy", "onnxruntime", "rasterio", "cv2"}  # the runtime's dependencies, by import name
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "pynvml": "nvidia-ml-py",
}  # where a distribution has another name than its package
EXTRAS = {
    "core": ["train"],
    "runtime": ["openvino", "tensorrt"],
    "train": ["train"],
    "export": ["export", "tensorrt"],
    "benchmarks": ["bench", "paper", "peers"],
}


def folder(room: str) -> Path:
    return ROOT / ("kda_edge" if room == "core" else room)


def sources(room: str) -> list[Path]:
    return sorted(folder(room).glob("*.py"))


ALL_SOURCES = [(room, path) for room in MAY_IMPORT for path in sources(room)]


def imported(path: Path) -> Iterator[str]:
    """Yield every absolute dotted name that a file imports, wherever in the file; `from a import b` gives `a.b`."""
    package = "kda_edge" if path.parent.name == "kda_edge" else f"kda_edge.{path.parent.name}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, (start, node.module)))
            yield from (f"{base}.{name.name}" for name in node.names)


def place(dotted: str) -> tuple[str, str] | None:
    """Return (room, module) of a name inside kda_edge, None outside of it."""
    first, *rest = dotted.split(".")
    if first != "kda_edge":
        return None
    if rest and rest[0] in ROOMS:
        return rest[0], rest[1] if len(rest) > 1 else "__init__"
    known = {path.stem for path in sources("core")}
    return "core", rest[0] if rest and rest[0] in known else "__init__"


@pytest.mark.parametrize(
    ("room", "path"), ALL_SOURCES, ids=lambda value: value if isinstance(value, str) else value.name
)
def test_a_room_imports_only_itself_and_what_it_may(room: str, path: Path) -> None:
    for dotted in imported(path):
        where = place(dotted)
        if where is not None:
            assert where[0] in MAY_IMPORT[room] | {room}, f"{path.name} of {room} imports {dotted}"
        if where is not None and room == "runtime" and where[0] == "core":
            assert where[1] in TORCH_FREE_CORE, f"{path.name} of the runtime imports {dotted}, which needs torch"


@pytest.mark.parametrize("path", [p for p in sources("core") if p.stem in TORCH_FREE_CORE], ids=lambda path: path.name)
def test_the_torch_free_half_of_the_core_needs_only_itself_and_lean_packages(path: Path) -> None:
    for dotted in imported(path):
        where = place(dotted)
        if where is None:
            top = dotted.split(".")[0]
            assert top in sys.stdlib_module_names | LEAN, f"{path.name} imports {dotted}"
        else:
            assert where[1] in TORCH_FREE_CORE, f"{path.name} imports {dotted}, which needs torch"


def test_each_module_of_the_core_is_known_as_torch_free_or_not() -> None:
    on_disk = {path.stem for path in sources("core")}
    assert on_disk == TORCH_FREE_CORE | TORCH_CORE
    for name in TORCH_CORE:
        names = list(imported(folder("core") / f"{name}.py"))
        needs_torch = any(n.split(".")[0] == "torch" or (place(n) or ("", ""))[1] in TORCH_CORE for n in names)
        assert needs_torch, f"{name} needs no torch: move it to the torch-free half"


@pytest.mark.parametrize(
    ("room", "path"), ALL_SOURCES, ids=lambda value: value if isinstance(value, str) else value.name
)
def test_rooms_are_relative_inside_and_absolute_to_the_core(room: str, path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path.name}:{node.lineno} climbs out of its room; import kda_edge by name"
            if room == "core":
                assert node.level == 0, f"{path.name}:{node.lineno}: inside the core, import kda_edge by name"
            elif node.level == 0 and node.module:
                assert not node.module.startswith(f"kda_edge.{room}"), (
                    f"{path.name}:{node.lineno}: import it relatively"
                )


def declared(room: str) -> set[str]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(r for extra in EXTRAS[room] for r in extras[extra])]
    return {re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


@pytest.mark.parametrize(
    ("room", "path"), ALL_SOURCES, ids=lambda value: value if isinstance(value, str) else value.name
)
def test_whatever_a_room_imports_is_declared_in_pyproject(room: str, path: Path) -> None:
    for dotted in imported(path):
        top = dotted.split(".")[0]
        if top in sys.stdlib_module_names or top in {"kda_edge", "__future__"}:
            continue
        assert DISTRIBUTIONS.get(top, top).lower().replace("_", "-") in declared(room), f"{path.name} imports {dotted}"


def test_the_runtime_imports_lean_packages_only() -> None:
    """Optional engines are imported where they are used; nothing else may creep in."""
    optional = {"openvino", "tensorrt", "cuda"}
    for path in sources("runtime"):
        tops = {dotted.split(".")[0] for dotted in imported(path)}
        assert tops <= sys.stdlib_module_names | LEAN | optional | {"kda_edge"}, path.name


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
    core = [f"kda_edge.{name}" for name in sorted(TORCH_FREE_CORE - {"__init__"})]
    runtime = [f"kda_edge.runtime.{p.stem}" for p in sources("runtime") if not p.stem.startswith("__")]
    barred = {"torch", "torchvision", "onnx", "onnxscript", "onnxsim", "tqdm", "tensorboard", "scipy", "PIL", "yaml"}
    code = BARRED.format(barred=barred, modules=["kda_edge", *core, "kda_edge.runtime", *runtime])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "lean"


MODULES = [
    ".".join(filter(None, ("kda_edge", "" if room == "core" else room, "" if path.stem == "__init__" else path.stem)))
    for room, path in ALL_SOURCES
    if path.stem != "__main__"  # runs when imported
]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_of_every_room_imports(name: str) -> None:
    assert importlib.import_module(name).__name__ == name
