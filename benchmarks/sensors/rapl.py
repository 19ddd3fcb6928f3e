"""The energy counters of an Intel or AMD processor (RAPL), as Linux shows them under powercap.

Source: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html. The counter starts again at 0 after
`max_energy_range_uj`; at 65 W that is after an hour or less, so that it is read every few seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

POWERCAP: Final = Path("/sys/class/powercap")
PACKAGE: Final = "package-"


class RaplCounter:
    """The energy of one part of the processor, J, since it was opened; it grows past the counter's own range."""

    def __init__(self, folder: Path) -> None:
        """Open a counter.

        Raises:
            OSError: it can't be read; since Linux 5.10 that takes root.
        """
        self.name = f"RAPL {(folder / 'name').read_text().strip()} ({folder.name})"
        self._file = folder / "energy_uj"
        self._range_uj = int((folder / "max_energy_range_uj").read_text())
        self._last_uj = self._read_uj()
        self._sum_uj = 0

    def energy_j(self) -> float:
        """Return the energy since the counter was opened."""
        now_uj = self._read_uj()
        self._sum_uj += spent_uj(self._last_uj, now_uj, self._range_uj)
        self._last_uj = now_uj
        return self._sum_uj / 1e6

    def _read_uj(self) -> int:
        return int(self._file.read_text())


def spent_uj(before_uj: int, after_uj: int, range_uj: int) -> int:
    """Return what was spent between two readings, the counter's start over at most once in between."""
    return after_uj - before_uj if after_uj >= before_uj else after_uj - before_uj + range_uj


def find_rapl(powercap: Path = POWERCAP) -> list[RaplCounter] | str:
    """Return the counter of each processor package, or why there is none."""
    folders = sorted(folder for folder in powercap.glob("*-rapl:*") if _is_package(folder))
    if not folders:
        return "RAPL: this machine shows no energy counter of its processor (virtual machines and ARM have none)"
    try:
        return [RaplCounter(folder) for folder in folders]
    except PermissionError:
        return f"RAPL: only root may read it; run: sudo chmod a+r {powercap}/*-rapl:*/energy_uj"
    except (OSError, ValueError) as error:
        return f"RAPL: its counter can't be read ({error})"


def _is_package(folder: Path) -> bool:
    try:
        return (folder / "name").read_text().startswith(PACKAGE)
    except OSError:
        return False
