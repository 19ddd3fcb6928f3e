"""Packages that the machine has already: those that come with PyTorch and timm, and those that its own list tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kda_edge.errors import UsageError

from .groups import COMES_WITH_THEM, never_taken

_LINE: Final = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\s*(?:==|\s)\s*(\S+))?")


class MachinePackages:
    """What is installed on the machine, by normalised name; a version is None where nobody told it."""

    def __init__(self, told: dict[str, Version | None] | None = None) -> None:
        self.versions: dict[str, Version | None] = dict.fromkeys(map(canonicalize_name, COMES_WITH_THEM), None)
        self.versions |= told or {}

    def has(self, requirement: Requirement) -> bool:
        """Whether the machine meets a requirement; where the version is not known, its name is enough.

        Packages that are never taken are there by promise: whether their version suffices is `refusal`.
        """
        name = canonicalize_name(requirement.name)
        return never_taken(name) or (name in self.versions and self._suffices(requirement))

    def refusal(self, requirement: Requirement) -> str | None:
        """Return what is wrong with a package that the machine has and that a kit may not replace, None if nothing."""
        if self._suffices(requirement):
            return None
        return f"{requirement} is wanted and the machine has {self.versions[canonicalize_name(requirement.name)]}"

    def _suffices(self, requirement: Requirement) -> bool:
        version = self.versions.get(canonicalize_name(requirement.name))
        return version is None or requirement.specifier.contains(version, prereleases=True)


def machine_packages(path: Path) -> MachinePackages:
    """Return what a machine's list tells, as `python3 -m pip list --format freeze` prints it; bare names are fine.

    Raises:
        UsageError: it can't be read, or a line of it names no package.
    """
    told: dict[str, Version | None] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--has {path} can't be read; it is what pip list --format freeze prints there") from error
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].partition(" @ ")[0].strip()
        if not words or words.startswith(("-", "Package ")):
            continue
        found = _LINE.fullmatch(words)
        if found is None:
            raise UsageError(f"--has {path}, line {number}: {words[:60]!r} names no package; pip list --format freeze")
        try:
            told[canonicalize_name(found[1])] = Version(found[2]) if found[2] else None
        except InvalidVersion:
            told[canonicalize_name(found[1])] = None
    return MachinePackages(told)
