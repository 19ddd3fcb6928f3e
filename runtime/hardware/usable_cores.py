"""Processor cores that this process may really use: libraries count the machine's, of which a container has a share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from kda_edge.errors import UsageError

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN_CGROUP: Final = Path("/proc/self/cgroup")


def thread_count(asked: int, *, machine: int | None = None, usable: int | None = None) -> int:
    """Return the number of threads that an engine is to be told; 0 leaves it to the library.

    Left to themselves, libraries take the machine's cores, also where a container or `taskset` gives this process a
    few of them only, and the threads then wait for one another.

    Args:
        asked: by the user; 0 asks for what suits this process.
        machine: cores of the machine; None asks it.
        usable: cores that this process may use; None is `usable_cores()`.

    Raises:
        UsageError: a number below 0.
    """
    if asked < 0:
        raise UsageError(f"the number of threads must be 1 or more, or 0 for the engine's own choice, not {asked}")
    if asked:
        return asked
    machine = (os.cpu_count() or 1) if machine is None else machine
    usable = usable_cores() if usable is None else usable
    return usable if usable < machine else 0


def usable_cores(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> int:
    """Return the cores that affinity and the quotas of control groups leave to this process, 1 or more.

    Args:
        cgroups: where control groups are mounted.
        own: the file that names those of this process.
    """
    allowed = len(os.sched_getaffinity(0))
    quotas = _quotas(cgroups, own)
    return max(1, min([allowed, *(int(quota) for quota in quotas)]))


def _quotas(cgroups: Path, own: Path) -> list[float]:
    """Return each limit on processor time, in cores; a group's own and those of the groups around it."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # no control groups here
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = cgroups / "cpu" if controllers else cgroups  # version 1 has a tree for each controller, version 2 one
        group = base / path.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(base))):
            found += _quota(folder)
    return found


def _quota(folder: Path) -> list[float]:
    """Return a group's limit in cores, or nothing."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{what}_us").read_text(encoding="ascii") for what in ("quota", "period")
            )
        cores = float(quota) / float(period)  # "max" in version 2, -1 in version 1: no limit
    except (OSError, ValueError, ZeroDivisionError):
        return []
    return [cores] if cores > 0 else []
