"""All wheels of a kit: what its groups require, what those require in turn, and nothing that the machine has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kda_edge.errors import KitError

from .groups import STANDS_FOR, Group
from .machine_list import MachinePackages
from .wheel import Wheel, wheel_at

Download = Callable[[Sequence[Requirement]], Iterable[Path]]  # one wheel for each requirement, without what it requires


def wheels_of(
    groups: Mapping[str, Group], machine: MachinePackages, environment: Mapping[str, str], download: Download
) -> dict[str, tuple[str, Wheel]]:
    """Return (group, wheel) of each package by its normalised name, in the order in which they must lie in a kit.

    A package belongs to the first group that needs it, so that a machine can do with the first groups alone.

    Args:
        groups: by name, in order.
        machine: what is there already.
        environment: markers of the machine, such as `python_version`, that requirements depend on.
        download: gets wheels for that machine.

    Raises:
        KitError: requirements that contradict one another or what the machine has, or two wheels that write one file.
    """
    roots = {name: [Requirement(text) for text in group.requires] for name, group in groups.items()}
    named = {canonicalize_name(item.name) for items in roots.values() for item in items}
    stood_for = {other for name, other in STANDS_FOR.items() if name in named}
    found: dict[str, tuple[str, Wheel]] = {}
    seen: dict[str, Requirement] = {}  # all that must hold in the end
    for group_name in groups:
        wanted = roots[group_name]
        left_out = {*map(canonicalize_name, groups[group_name].without), *stood_for}
        while wanted := [r for r in wanted if str(r) not in seen and canonicalize_name(r.name) not in left_out]:
            seen |= {str(item): item for item in wanted}
            missing = _one_each(r for r in wanted if canonicalize_name(r.name) not in found and not machine.has(r))
            for wheel in map(wheel_at, download(missing) if missing else ()):
                found.setdefault(wheel.name, (group_name, wheel))
            in_kit = [
                (found[name][1], item.extras) for item in wanted if (name := canonicalize_name(item.name)) in found
            ]
            wanted = [need for wheel, extras in in_kit for need in _needs(wheel, extras, environment)]
    _require_met(seen.values(), found, machine)
    _require_own_files([wheel for _, wheel in found.values()])
    return found


def _needs(wheel: Wheel, extras: Iterable[str], environment: Mapping[str, str]) -> list[Requirement]:
    """Return what a wheel requires on the machine, with these of its extras."""
    return [
        Requirement(str(item).partition(";")[0])
        for item in wheel.requires
        if item.marker is None or any(item.marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))
    ]


def _one_each(requirements: Iterable[Requirement]) -> list[Requirement]:
    """Join requirements of one package into one."""
    joined: dict[str, Requirement] = {}
    for item in requirements:
        name = canonicalize_name(item.name)
        if name in joined:
            joined[name].specifier &= item.specifier
            joined[name].extras |= item.extras
        else:
            joined[name] = Requirement(str(item))
    return list(joined.values())


def _require_met(
    requirements: Iterable[Requirement], found: Mapping[str, tuple[str, Wheel]], machine: MachinePackages
) -> None:
    for item in requirements:
        name = canonicalize_name(item.name)
        if name in found:
            version = found[name][1].version
            if not item.specifier.contains(version, prereleases=True):
                raise KitError(f"{item} is wanted and {version} was taken for others; pin it by PIP_CONSTRAINT")
        elif not machine.has(item):
            raise KitError(f"{item} is wanted and pip brought no wheel of that name; look at what it is called")
        elif (refusal := machine.refusal(item)) is not None:
            raise KitError(f"{refusal}, which a kit never replaces; pin what wants it by PIP_CONSTRAINT")


def _require_own_files(wheels: Iterable[Wheel]) -> None:
    """Raise where one wheel would write over another's file."""
    written: dict[str, Wheel] = {}
    for wheel in wheels:
        for member, checksum in wheel.writes.items():
            other = written.setdefault(member, wheel)
            if other.writes[member] != checksum:
                raise KitError(f"{other.name} and {wheel.name} both write {member}; leave the group of one out")
