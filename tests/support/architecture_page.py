"""Draw docs/architecture.md: the layers in one picture, and one sentence a package from its docstring.

    make docs                                          write them, and every other generated table
    python tests/support/architecture_page.py --check  fail if the page says otherwise

The layers come from `import_rules`, which the tests hold the imports to; so the picture can't be nicer than the code.
It lies beside the tests because the rules do: what ships does not know them.
"""

from __future__ import annotations

import ast
import graphlib
import itertools
import textwrap
from collections.abc import Sequence
from typing import Final

from import_rules import DOORS, MAY_NAME, MAY_USE
from places import ROOT
from project_sources import CORE

from kda_edge.benchmarks.documents.marked_tables import fill_documents

PAGE: Final = "docs/architecture.md"
COMMANDS: Final = {"train": "kda-train", "export": "kda-export", "runtime": "kda-infer", "benchmarks": "kda-bench"}
DUNDERS: Final = ("__init__", "__main__")  # of a folder: they say and start what the rest is
LINES_A_LAYER: Final = 2  # in the picture, at most
GAP: Final = "    "


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 where `--check` finds a page that differs from the code."""
    return fill_documents(argv, __doc__, [str(ROOT / PAGE)], "architecture", section, made_of="the code")


def section(kind: str, folder: str = "") -> str:
    """Return what stands at a marker: `picture`, or `packages` of a folder."""
    return packages_table(folder) if kind == "packages" else picture()


def layers(folder: str) -> list[list[str]]:
    """Return the packages of a folder, and the modules beside them, from the top; each may import lower ones only."""
    rows = {name: uses - set(DUNDERS) for name, uses in MAY_USE[folder].items() if name not in DUNDERS}
    waiting, floors = graphlib.TopologicalSorter(rows), list[list[str]]()
    waiting.prepare()  # raises where they go in a circle
    while waiting.is_active():
        floors.insert(0, sorted(waiting.get_ready()))
        waiting.done(*floors[0])
    return floors


def picture() -> str:
    """Return the five folders with their layers, the four commands side by side upon the core."""
    columns = [_box(name, layers(name)) for name in COMMANDS]
    tallest = max(map(len, columns))
    lines = ["".join(f"{name:^{len(box[0])}}{GAP}" for name, box in zip(COMMANDS.values(), columns, strict=True))]
    padded = [[*box[:2], *[f"│{' ' * (len(box[0]) - 2)}│"] * (tallest - len(box)), *box[2:]] for box in columns]
    lines += [GAP.join(parts) for parts in zip(*padded, strict=True)]
    lines[2] = _with_arrows(lines[2], list(COMMANDS))
    width = len(lines[1])
    feet = "".join(f"{'│':^{len(box[0])}}{GAP}" for box in columns)
    lines += [feet, feet.replace("│", "▼")]
    lines += _box(f"{CORE} (the core)", layers(CORE), width - 4)
    return "\n".join(["```", *(line.rstrip() for line in lines), "```"])


def _with_arrows(line: str, folders: list[str]) -> str:
    """Put an arrow into the gap between neighbours of which one may import the other."""
    left, *rest = line.split(f"│{GAP}│")
    for (before, after), part in zip(itertools.pairwise(folders), rest, strict=True):
        if after in MAY_NAME[before]:
            left += f"├───▶│{part}"
        elif before in MAY_NAME[after]:
            left += f"│◀───┤{part}"
        else:
            left += f"│{GAP}│{part}"
    return left


def _box(title: str, floors: list[list[str]], width: int = 0) -> list[str]:
    """Return a box of text: its title, a line, and each layer between lines of its own."""
    while not width or any(len(_wrapped(names, width)) > LINES_A_LAYER for names in floors):
        width = max(width + 1, len(title), *(len(name) for names in floors for name in names))
    box = [f"┌{'─' * (width + 2)}┐", f"│ {title:<{width}} │"]
    for names in floors:
        box += [f"├{'─' * (width + 2)}┤", *(f"│ {text:<{width}} │" for text in _wrapped(names, width))]
    return [*box, f"└{'─' * (width + 2)}┘"]


def _wrapped(names: list[str], width: int) -> list[str]:
    return [line.replace(" ", "  ") for line in textwrap.wrap(" ".join(names), width - len(names) + 1)] or [""]


def packages_table(folder: str) -> str:
    """Return a row a package, and a module beside the packages, of a folder: what it is, and what it may import."""
    doors = {other: names for other, names in DOORS.items() if folder == "runtime"}
    head = ["package", "what it is", f"may import of `{folder}/`", *(["open to"] if doors else [])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in (name for floor in layers(folder) for name in floor):
        used = ", ".join(sorted(MAY_USE[folder][name] - set(DUNDERS))) or "nothing"
        cells = [_link(folder, name), first_sentence(folder, name), used]
        cells += [", ".join(other for other, names in doors.items() if name in names)] if doors else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def first_sentence(folder: str, name: str) -> str:
    """Return what a package or module says first of itself."""
    path = ROOT / folder / name
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    summary = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
    return " ".join(summary.replace("|", "\\|").split())


def _link(folder: str, name: str) -> str:
    shown = f"{name}/" if (ROOT / folder / name).is_dir() else f"{name}.py"
    return f"[`{shown}`](../{folder}/{shown.rstrip('/')})"


if __name__ == "__main__":
    raise SystemExit(main())
