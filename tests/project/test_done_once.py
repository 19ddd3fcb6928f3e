"""What the project does in one place is done nowhere else: writing files whole, telling errors, ending commands."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from places import ROOT
from project_sources import ALL_SOURCES, named

# What must not be written, what to use instead, and the modules that may: those that are the place, or, for a file that
# is open for long, those that write to a hidden name which `whole_files` publishes.
ONCE = {
    r"os\.fsync|O_EXCL|\.hardlink_to\(|\.part[\"{]": (
        "kda_edge/whole_files.py",
        {
            "kda_edge/whole_files.py",
            "runtime/runs/framed_file.py",
            "runtime/outputs/output_files.py",
            "benchmarks/kit/parts.py",  # the names of a kit's parts
        },
    ),
    r"\.write_(text|bytes)\(|\.?open\([^()]*\"[wxa]b?\"": (
        "kda_edge.whole_files.write_whole, staged",
        {
            "kda_edge/whole_files.py",
            "kda_edge/standard_streams.py",  # nowhere
            "kda_edge/networks/checkpoint.py",
            "export/artifact_file.py",
            "runtime/outputs/output_files.py",
            "runtime/outputs/picture.py",
            "runtime/polygons/geojson.py",
            "runtime/video/map_video.py",
            "train/distillation/feature_cache.py",  # in a folder that is renamed
            "benchmarks/contest/contestant_process.py",  # a log
            "benchmarks/gpu/part_process.py",  # a log
            "benchmarks/paper/experiments.py",  # a lock
            "benchmarks/sensors/peak_memory.py",  # a switch of the system
        },
    ),
    r"\bstr\(\w+\)(\.strip\(\))?\.split|\.strerror\b": (
        "kda_edge.errors.one_line",
        {
            "kda_edge/errors.py",
            "kda_edge/whole_files.py",
            "kda_edge/rasters/gdal_messages.py",
            "runtime/engines/openvino_engine.py",
        },
    ),
    r"\bEXIT_\w+(, EXIT_\w+)*(: Final)? =|except KeyboardInterrupt": (
        "kda_edge.commands",
        {"kda_edge/commands.py"},
    ),
}


def code_of(path: Path) -> list[str]:
    """Return the lines of a module without its comments and docstrings."""
    return ast.unparse(without_docstrings(ast.parse(path.read_text(encoding="utf-8")))).splitlines()


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = [*node.body[1:], ast.Pass()]
    return tree


def found(rule: str, path: Path) -> list[str]:
    # ast.unparse writes strings in single quotes
    return [line.strip() for line in code_of(path) if re.search(rule.replace('\\"', "'"), line)]


@pytest.mark.parametrize("rule", ONCE, ids=[use for use, _ in ONCE.values()])
def test_what_has_a_place_is_done_nowhere_else(rule: str) -> None:
    use, allowed = ONCE[rule]
    elsewhere = {named(path): found(rule, path) for _, path in ALL_SOURCES if named(path) not in allowed}
    assert {path: lines for path, lines in elsewhere.items() if lines} == {}, f"use {use}"


@pytest.mark.parametrize("rule", ONCE, ids=[use for use, _ in ONCE.values()])
def test_every_exception_from_a_rule_is_needed(rule: str) -> None:
    _, allowed = ONCE[rule]
    assert [path for path in sorted(allowed) if not found(rule, ROOT / path)] == []


@pytest.mark.parametrize(
    "line",
    [
        "hidden = path.with_name(f'.{path.name}.{os.getpid()}.part')",
        "os.fsync(file.fileno())",
        "options.json.write_text(text)",
        'file = path.open("w", encoding="utf-8")',
        "file = open(path, 'wb')",
        "reason = str(error).splitlines()[0]",
        "line = (str(error).strip().splitlines() or [''])[0]",
        "reason = error.strerror or error",
        "EXIT_ERROR, EXIT_USAGE = 1, 2",
        "EXIT_ERROR: Final = 1",
    ],
)
def test_a_planted_second_way_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(f'"""A file."""\n{line}\n')
    assert [rule for rule in ONCE if found(rule, tmp_path / "planted.py")]


COMMANDS = [
    path
    for _, path in ALL_SOURCES
    if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in ast.parse(path.read_text()).body)
]


@pytest.mark.parametrize("path", COMMANDS, ids=named)
def test_every_command_ends_in_the_one_way(path: Path) -> None:
    assert any("return ended(" in line for line in code_of(path))
