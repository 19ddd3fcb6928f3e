"""What messages tell people to type: options that there are."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT
from project_sources import AREAS, CORE, sources

from kda_edge.runtime.cli.infer import flags

# Of pip, venv, docker and nvidia-smi.
OF_OTHERS = {"--force-reinstall", "--system-site-packages", "--gpus", "--runtime", "--query-gpu", "--format"}
# Programs of their own, with options of their own.
APART = (
    *("benchmarks/gpu_train", "benchmarks/kit", "benchmarks/paper", "benchmarks/studies", "benchmarks/documents"),
    "benchmarks/sensors/tegrastats.py",
)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the options of a parser and of its subcommands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options_of(inner)


@pytest.fixture(scope="module")
def known() -> set[str]:
    """All options of the commands and of the GPU report; two by their words alone."""
    benchmarks = importlib.import_module("kda_edge.benchmarks.cli")
    parsers = [
        flags(),
        importlib.import_module("kda_edge.train.cli.train")._parser(),
        importlib.import_module("kda_edge.export.cli")._parser(),
        importlib.import_module("kda_edge.benchmarks.gpu.gpu_report")._parser(),
        *(benchmarks._parser([name]) for name in benchmarks.COMMANDS),
    ]
    return {option for parser in parsers for option in options_of(parser)} | {"--shards", "--task"}


def said(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string that is no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.lineno, node.value


@pytest.mark.parametrize("area", [CORE, *(area for area in AREAS if area != CORE)])
def test_no_message_names_an_option_that_there_is_not(area: str, known: set[str]) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {option}"
        for path in sources(area)
        if not path.relative_to(ROOT).as_posix().startswith(APART)
        for line, text in said(path)
        for option in _OPTION.findall(text)
        if option not in known | OF_OTHERS
    ]
    assert wrong == []
