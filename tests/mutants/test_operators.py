"""Changes are small, whole Python, and never to annotations, messages or docstrings."""

from __future__ import annotations

import ast

import mutants
import pytest
from operators import mutants_of, sampled
from places import ROOT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b", {"a <= b"}),
        ("a <= b < c", {"a < b < c", "a <= b <= c"}),
        ("x = a + b * 2", {"x = a - b * 2", "x = a + b + 2", "x = a + b * 3"}),
        ("x += 1", {"x -= 1", "x += 2"}),
        ("x = not a and b", {"x = a and b", "x = not a or b"}),
        ("x = True", {"x = False"}),
        ("x = 0.5", {"x = 0.85"}),
        ("x = max(a, b)", {"x = min(a, b)"}),
        ("x = (a) + (b)", {"x = (a) - (b)"}),
        ("close()", {"pass"}),
        ("if a:\n    pass", {"if not (a):\n    pass"}),
        ("x = 'ü' + b", {"x = 'ü' - b"}),
    ],
)
def test_each_change_is_the_one_that_is_meant(text: str, expected: set[str]) -> None:
    assert {mutant.applied(text) for mutant in mutants_of(text)} == expected


@pytest.mark.parametrize(
    "text",
    [
        '"""Docstring of 3."""',
        "def f(a: int | None, b: tuple[int, 3]) -> int | str: ...",
        "x: int | None",
        "raise ValueError(f'{a + 1} of {b}')",
        "x = f'{a + 1}'",
        "assert a < b",
        "if TYPE_CHECKING:\n    import x",
    ],
)
def test_what_says_nothing_about_results_is_left_alone(text: str) -> None:
    assert mutants_of(text) == []


@pytest.mark.parametrize("module", mutants.MODULES)
def test_every_change_of_a_module_is_python_and_the_tests_named_for_it_are_there(module: str) -> None:
    text = (ROOT / module).read_text(encoding="utf-8")
    found = mutants_of(text)
    assert len(found) > 10
    for mutant in found:
        ast.parse(mutant.applied(text))
    assert list(sampled(found, 5, 1)) == list(sampled(found, 5, 1))
    assert all((ROOT / path).exists() for path in (*mutants.MODULES[module], *mutants.WIDER))


def test_known_survivors_are_lines_that_are_still_there() -> None:
    for module, line, was, _ in mutants.known_survivors():
        lines = {text.strip() for text in (ROOT / module).read_text(encoding="utf-8").splitlines()}
        assert line in lines
        assert was in line


@pytest.mark.slow
def test_a_change_is_noticed_by_the_tests_and_no_change_is_not(tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = mutants.Copy(tmp_path_factory.mktemp("copy"))
    tests = ["tests/core/tiling/test_tile_grid.py"]
    assert not copy.fails(tests, 300)
    place = copy.place("kda_edge/tiling/tile_grid.py")
    text = place.read_text(encoding="utf-8")
    place.write_text(next(m for m in mutants_of(text) if m.was == "-").applied(text), encoding="utf-8")
    assert copy.fails(tests, 300)


def test_survivors_are_changes_of_lines_that_are_there_and_each_has_its_reason() -> None:
    rows = mutants.tomllib.loads(mutants.KNOWN.read_text(encoding="utf-8"))["survivor"]
    for row in rows:
        text = (ROOT / row["module"]).read_text(encoding="utf-8")
        lines = text.splitlines()
        there = {mutants.change_of(mutants.facts(row["module"], lines, mutant)) for mutant in mutants_of(text)}
        assert mutants.change_of(row) in there, row
        assert len(row["reason"].split()) > 4
    assert len({mutants.change_of(row) for row in rows}) == len(rows)
