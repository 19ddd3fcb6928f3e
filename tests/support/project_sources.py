"""The modules of the project as they lie on disk, and what each of them imports, read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from places import ROOT

CORE = "kda_edge"
AREAS = (CORE, "train", "export", "runtime", "benchmarks")  # the folders that are one import package
NEED_TORCH = {"networks", "decoders"}  # packages of the core; all else there is for the runtime too


def sources(area: str, root: Path = ROOT) -> list[Path]:
    """Return every module below a folder of the top level."""
    return sorted((root / area).rglob("*.py"))


ALL_SOURCES = [(area, path) for area in AREAS for path in sources(area)]


def named(value: object) -> str:
    """Name a parameter of a test: a module by its path."""
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else str(value)


def dotted(area: str, path: Path, root: Path = ROOT) -> str:
    """Return the import name of a module."""
    parts = path.relative_to(root / area).with_suffix("").parts
    inside = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join((CORE, *(() if area == CORE else (area,)), *inside))


def package_of(area: str, path: Path, root: Path = ROOT) -> str:
    """Return the sub-package that a module lies in, or its own name where it lies directly in its area."""
    inside = path.relative_to(root / area)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(area: str, path: Path, root: Path = ROOT) -> Iterator[tuple[int, str, ast.Import | ast.ImportFrom]]:
    """Yield (line, absolute dotted name, statement) of all that a module imports; `from a import b` gives `a.b`."""
    here = dotted(area, path, root).split(".")
    package = here if path.name == "__init__.py" else here[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name, node
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join((*start, *(node.module.split(".") if node.module else ())))
            for name in node.names:
                yield node.lineno, f"{base}.{name.name}", node


def place(name: str, root: Path = ROOT) -> tuple[str, str] | None:
    """Return (area, sub-package or module) of a dotted name of ours; None outside of it."""
    first, *rest = name.split(".")
    if first != CORE:
        return None
    area = rest.pop(0) if rest and rest[0] in AREAS else CORE
    folder = root / area
    if rest and ((folder / rest[0]).is_dir() or (folder / f"{rest[0]}.py").is_file()):
        return area, rest[0]
    return area, "__init__"
