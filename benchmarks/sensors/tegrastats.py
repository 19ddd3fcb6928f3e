"""`tegrastats`, a Jetson's account of itself by lines: power of rails (INA3221), temperatures, load, clocks, memory.

`tegrastats` is part of JetPack and prints a line every interval. Its rails differ by module; one whose name is among
`TOTALS` is the input of the whole module, an AGX Orin has none and its three rails add up instead.

Source: NVIDIA Jetson Linux Developer Guide, "tegrastats Utility" and "Jetson Orin ... Power and Performance".
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Final

COMMAND: Final = "tegrastats"
INTERVAL_MS: Final = 100
FIRST_LINE_S: Final = 5.0
STALE_S: Final = 5.0  # fifty intervals without a line: tegrastats has ended or hangs
# Rails that are the input of the whole module: Orin NX and Nano, Xavier NX; TX2; Nano.
TOTALS: Final = ("VDD_IN", "POM_5V_IN")
# An AGX Orin has no such rail; these three are side by side. VDDQ_VDD2_1V8AO lies behind the third.
AGX_ORIN: Final = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")

_RAM = re.compile(r"\bRAM (\d+)/(\d+)MB")
_GPU = re.compile(r"\bGR3D_FREQ (\d+)%(?:@\[?(\d+))?")
_EMC = re.compile(r"\bEMC_FREQ (\d+)%(?:@(\d+))?")
_CPU = re.compile(r"\bCPU \[([^\]]*)\]")
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C(?!\S)")
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?!\S)")
_OFF_C: Final = -256.0  # what a sensor shows whose part is off


@dataclass(frozen=True)
class TegraSample:
    """A line of tegrastats.

    Attributes:
        rails_mw: power of each rail now, `{name: mW}`.
        temperatures_c: of each sensor that is on.
        ram_used_mb: memory in use, which CPU and GPU share; None: not told.
        ram_mb: all of it; None: not told.
        gpu_load: 0..1; None: not told.
        gpu_mhz: clock of the GPU's first cluster; None: not told.
        memory_mhz: clock of the memory; None: not told, which is so without root.
        cpu_mhz: clock of each core that is on.
    """

    rails_mw: Mapping[str, int]
    temperatures_c: Mapping[str, float]
    ram_used_mb: int | None = None
    ram_mb: int | None = None
    gpu_load: float | None = None
    gpu_mhz: int | None = None
    memory_mhz: int | None = None
    cpu_mhz: tuple[int, ...] = ()

    @property
    def total(self) -> tuple[str, int] | None:
        """The rails that are the module's whole power, by name, and their sum in mW; None: not among these rails."""
        for name in TOTALS:
            if name in self.rails_mw:
                return name, self.rails_mw[name]
        if all(name in self.rails_mw for name in AGX_ORIN):
            return " + ".join(AGX_ORIN), sum(self.rails_mw[name] for name in AGX_ORIN)
        return None


def sample_from(line: str) -> TegraSample | None:
    """Return what a line tells; None where it is no line of tegrastats."""
    ram = _RAM.search(line)
    if ram is None:
        return None
    gpu, emc, cpu = _GPU.search(line), _EMC.search(line), _CPU.search(line)
    after_memory = line[ram.end() :]
    return TegraSample(
        rails_mw={name: int(now) for name, now, _ in _RAIL.findall(after_memory)},
        temperatures_c={n: float(c) for n, c in _TEMPERATURE.findall(after_memory) if float(c) > _OFF_C},
        ram_used_mb=int(ram[1]),
        ram_mb=int(ram[2]),
        gpu_load=int(gpu[1]) / 100 if gpu else None,
        gpu_mhz=int(gpu[2]) if gpu and gpu[2] else None,
        memory_mhz=int(emc[2]) if emc and emc[2] else None,
        cpu_mhz=tuple(int(clock) for clock in re.findall(r"@(\d+)", cpu[1])) if cpu else (),
    )


class Tegrastats:
    """tegrastats at work; its newest line can be asked for at any time. Close it."""

    def __init__(
        self,
        start: Callable[[], tuple[Iterable[str], Callable[[], None]]] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start it and wait for its first line.

        Args:
            start: returns the lines and what ends them; None: the command itself.
            clock: in seconds.

        Raises:
            OSError: there is no such command, or it says nothing.
        """
        lines, self._stop = (start or _started)()
        self._newest: TegraSample | None = None
        self._at_s = 0.0
        self._clock = clock
        self._first = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()
        self._first.wait(FIRST_LINE_S)
        if self._newest is None:
            self.close()
            raise OSError("tegrastats prints no line that can be read")

    def newest(self) -> TegraSample:
        """Return the newest line.

        Raises:
            OSError: there has been none for `STALE_S`.
        """
        if self._newest is None or self._clock() - self._at_s > STALE_S:
            raise OSError("tegrastats has fallen silent")
        return self._newest

    def close(self) -> None:
        """End it."""
        self._stop()
        self._reader.join(FIRST_LINE_S)

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            sample = sample_from(line)
            if sample is not None:
                self._newest, self._at_s = sample, self._clock()
                self._first.set()
        self._first.set()


def one_sample() -> TegraSample | None:
    """Return one line of tegrastats; None where this is no Jetson, or it says nothing."""
    if shutil.which(COMMAND) is None:
        return None
    try:
        stats = Tegrastats()
    except OSError:
        return None
    sample = stats.newest()
    stats.close()
    return sample


def _started() -> tuple[Iterable[str], Callable[[], None]]:
    process = subprocess.Popen(
        [COMMAND, "--interval", str(INTERVAL_MS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    stdout: IO[str] | None = process.stdout

    def stop() -> None:
        process.terminate()
        process.wait()
        if stdout is not None:
            stdout.close()

    return stdout or (), stop
