"""Wheels for another machine: downloaded by pip from where it is told to look, and the project's own, built here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kda_edge.errors import KitError, UsageError, one_line

from .groups import PROJECT

OLDEST_GLIBC: Final = 5  # the minor version that manylinux begins with
# Names of before PEP 600, for 2.5, 2.12 and 2.17.
OLD_NAMES: Final = ("manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64")


def target_environment(python: str) -> dict[str, str]:
    """Return the markers (PEP 508) of a Linux machine on x86-64 with this version of Python, such as "3.12"."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


class PipDownload:
    """A `closure.Download` by pip, into a folder; the project itself is built from its clone."""

    def __init__(self, folder: Path, project: Path, *, python: str, glibc: str) -> None:
        self.folder, self.project, self.python = folder, project, python
        _, newest = (int(number) for number in glibc.split("."))
        self.platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(newest, OLDEST_GLIBC - 1, -1)]
        self.platforms += [*reversed(OLD_NAMES), "linux_x86_64"]
        self._rounds = 0

    def __call__(self, requirements: Sequence[Requirement]) -> Iterator[Path]:
        """Yield a wheel for each requirement.

        Raises:
            KitError: pip found none, or could not be run; with what it said.
        """
        own = [item for item in requirements if canonicalize_name(item.name) == PROJECT]
        foreign = [str(item) for item in requirements if item not in own]
        self._rounds += 1
        fresh = self.folder / f"round{self._rounds}"
        fresh.mkdir(parents=True)
        if own:
            self._pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(fresh), str(self.project))
        if foreign:
            words = [word for platform in self.platforms for word in ("--platform", platform)]
            words += ["--implementation", "cp", "--python-version", self.python, "--only-binary", ":all:", "--no-deps"]
            self._pip("download", *words, "--dest", str(fresh), *foreign)
        yield from sorted(fresh.glob("*.whl"))

    def _pip(self, *words: str) -> None:
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["it said nothing"]
            raise KitError(f"pip {words[0]} failed: {one_line(lines[-1].removeprefix('ERROR: '))}")


def require_clone(project: Path) -> None:
    """Raise `UsageError` where a folder is no clone of the project, whose wheel is built from it."""
    path = project / "pyproject.toml"
    if not path.is_file() or f'name = "{PROJECT}"' not in path.read_text(encoding="utf-8"):
        raise UsageError(f"{project} is no clone of {PROJECT}; give the command at the top of one")
