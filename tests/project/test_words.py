"""What the project's texts say is true: commands, targets, versions; and nothing of the machine that wrote them."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

import kda_edge

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WIDTH = 120  # columns of prose; a longer line gives a diff that nobody can read
SCRIPTS: dict[str, str] = PYPROJECT["project"]["scripts"]

# Written in pieces, so that this file does not hold what it looks for.
OF_A_MACHINE = re.compile(
    r"(?<![\w.])/(?:"
    + "|".join(("wo" + "rk", "tm" + "p", "ro" + "ot", "home/" + r"\w+", "Use" + r"rs/\w+", "opt/" + "pypi"))
    + r")(?:/|\b)"
    r"|[A-Z]:\\\\?Us" + r"ers|\b(?:py" + r"pi\.org|python" + r"hosted\.org|npm" + r"js\.org)\b"
)


def texts() -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the files that git knows or would take; skipped outside a clone."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git clone: nobody knows which files belong to the project")
    for name in filter(None, done.stdout.split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" not in data:
            yield name, data.decode("utf-8")


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_no_text_holds_a_path_of_a_machine_or_the_host_of_a_registry() -> None:
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if OF_A_MACHINE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line", ["see /wo" + "rk/main", "(/tm" + "p/x)", "'/ro" + "ot/.cache'", "/home/" + "me/data", "C:" + "\\Users\\me"]
)
def test_paths_of_a_machine_are_recognised(line: str) -> None:
    assert OF_A_MACHINE.search(line)


@pytest.mark.parametrize(
    "line", ["docs/work/plan.md", "the network/root of it", "a/tmp", "/workshop", "../shared/data"]
)
def test_other_paths_are_left_alone(line: str) -> None:
    assert not OF_A_MACHINE.search(line)


def help_of(script: str, *words: str) -> str:
    """What a command prints when asked for help, run in this process."""
    module, _, function = SCRIPTS[script].partition(":")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        getattr(importlib.import_module(module), function)([*words, "--help"])
    return out.getvalue()


def commands_in(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (command, words) of each command line in a text: at a line's start, continued or not, or in `code`."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for match in re.finditer(r"(?:^[ \t]*(?:\$ )?|`|/)(kda-(?!edge)[a-z]+)([^`\n|#]*)", joined, flags=re.MULTILINE):
        yield match[1], match[2].split()


def complaint(script: str, words: list[str]) -> str | None:
    """Return what is wrong with a command line, None where argparse knows each of its words."""
    if script not in SCRIPTS:
        return f"{script} is no command of this project"
    text = help_of(script)
    subcommands = set(re.findall(r"^    (\w+)(?: |$)", text, flags=re.MULTILINE)) if "COMMAND" in text else set()
    first = next((word for word in words if re.fullmatch(r"[a-z]+", word)), None)
    if subcommands and first is not None:
        if first not in subcommands:
            return f"{script} has no subcommand {first}"
        text = help_of(script, first)
    for word in words:
        option = re.fullmatch(r"[\[(]?(-\w|--[a-z][a-z0-9-]*)(?:=.*)?[\]),;.:]*", word)
        if option and not re.search(rf"(?<![\w-]){re.escape(option[1])}(?![\w-])", text):
            return f"{script} has no option {option[1]}"
    return None


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_line_in_the_documents_is_one_that_argparse_knows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [c for script, words in commands_in(text) if (c := complaint(script, words))] == []


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_every_command_line_in_a_commands_own_help_is_one_that_argparse_knows(script: str) -> None:
    module = importlib.import_module(SCRIPTS[script].partition(":")[0])
    name = getattr(module, SCRIPTS[script].partition(":")[2]).__module__
    examples = list(commands_in(re.sub(r"\b[Ee]xample: ", "", importlib.import_module(name).__doc__ or "")))
    assert examples, f"the help of {script} shows no example"
    assert [c for name, words in examples if (c := complaint(name, words))] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("kda-infer scene.tif -o maps --min-area 100", None),
        ("kda-infer scene.tif --colour", "--colour"),
        ("kda-train segment --out runs/a", None),
        ("kda-train evaluate --epochs 3", "--epochs"),
        ("kda-train dream", "dream"),
        ("kda-dream scene.tif", "kda-dream"),
    ],
)
def test_a_wrong_command_line_is_found(line: str, wrong: str | None) -> None:
    ((script, words),) = commands_in(f"```\n{line}\n```")
    problem = complaint(script, words)
    assert problem is None if wrong is None else problem is not None and wrong in problem


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_make_target_in_the_documents_is_in_the_makefile(path: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    used = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert used <= targets
    assert {"install", "check", "lint", "types", "test", "demo"} <= targets


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_in_the_documents_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def unwrapped(text: str) -> list[str]:
    """Return the lines of prose that are longer than `WIDTH` and could be broken: no code, no row of a table."""
    prose = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = (line.strip().removeprefix("- ") for line in prose.splitlines() if len(line) > WIDTH)
    return [line for line in lines if " " in line and not line.startswith("|")]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_prose_in_the_documents_is_wrapped(path: Path) -> None:
    assert unwrapped(path.read_text(encoding="utf-8")) == []


def test_prose_that_is_too_long_is_found_and_code_tables_and_addresses_are_left_alone() -> None:
    long, address = "some words " * 12, "https://" + "x" * WIDTH
    fence = f"  ```\n  {long}\n  ```\n"
    assert unwrapped(f"short\n| {long} |\n{fence}- {address}\n") == []
    assert unwrapped(f"{fence}- {long}\n{long}\n") == [long.strip(), long.strip()]
    assert unwrapped(f"{long}\n{fence}") == [long.strip()]


def test_the_version_is_the_same_everywhere() -> None:
    version = PYPROJECT["project"]["version"]
    assert kda_edge.__version__ == version
    assert re.search(
        rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability." in text
    assert "END OF TERMS AND CONDITIONS" in text
