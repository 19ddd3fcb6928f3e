"""Energy of a stretch of work, from whatever this machine lets us read, with the rail or counter by name.

A counter of energy is read before and after; power is read a few times a second and integrated. Nothing is subtracted:
what the machine would have spent idle is in the figure. Where nothing can be read, that is said.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from kda_edge.runtime.engines.engine_names import GPU_ENGINES

from ..reporting.result import Figure
from . import nvml, rapl, tegrastats

PERIOD_S: Final = 0.2
J_PER_WH: Final = 3600.0
SHORTEST_S: Final = 2.0  # NVML's power is an average over a second, and its counter moves ten times a second


@dataclass(frozen=True)
class Meter:
    """Something that can be read.

    Attributes:
        name: the rail or counter, and what it covers.
        kind: `counter` gives J since some start, `power` gives W.
        read: returns the number; raises OSError where it has gone.
        close: ends it.
    """

    name: str
    kind: Literal["counter", "power"]
    read: Callable[[], float]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Energy:
    """What a meter saw.

    Attributes:
        meter: its name.
        kind: its kind.
        joules: spent.
        seconds: from the first to the last reading.
        readings: that count.
    """

    meter: str
    kind: str
    joules: float
    seconds: float
    readings: int

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds


@dataclass
class Metering:
    """A stretch of work under way; `energies` and `notes` are complete once its block has ended."""

    energies: list[Energy] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_meters(engine: str) -> tuple[list[Meter], list[str]]:
    """Return what can be read of the parts that an engine uses, and why other things can't be.

    Args:
        engine: its name; the GPU counts where it is used.
    """
    if shutil.which(tegrastats.COMMAND):
        return _jetson_meters()
    meters: list[Meter] = []
    notes: list[str] = []
    if engine in GPU_ENGINES:
        gpu = nvml.find_gpu()
        found = f"NVML: {gpu.name} tells neither energy nor power" if isinstance(gpu, nvml.Gpu) else gpu
        meter = gpu_meter(gpu) if isinstance(gpu, nvml.Gpu) else None
        if meter is None:
            notes.append(found)
        else:
            meters.append(meter)
    counters = rapl.find_rapl()
    if isinstance(counters, str):
        notes.append(counters)
    else:
        meters += [Meter(counter.name, "counter", counter.energy_j) for counter in counters]
    if not meters:
        notes.append("energy: not measured, nothing on this machine can be read")
    return meters, notes


def gpu_meter(gpu: nvml.Gpu) -> Meter | None:
    """Return the GPU's energy counter, its power where it has none, or None."""
    for name, kind, ask in (("energy counter", "counter", gpu.energy_j), ("power", "power", gpu.power_w)):
        if ask() is not None:
            return Meter(f"NVML {name} of {gpu.name}, whole board", kind, _required(ask, gpu.name))  # type: ignore[arg-type]  # the two kinds
    return None


def _required(ask: Callable[[], float | None], name: str) -> Callable[[], float]:
    def read() -> float:
        value = ask()
        if value is None:
            raise OSError(f"NVML no longer tells it of {name}")
        return value

    return read


def _jetson_meters() -> tuple[list[Meter], list[str]]:
    try:
        stats = tegrastats.Tegrastats()
    except OSError as error:
        return [], [f"tegrastats: {error}"]
    total = stats.newest().total
    if total is None:
        rails = ", ".join(stats.newest().rails_mw) or "none"
        stats.close()
        return [], [f"tegrastats: no rail of the whole module is known among those it shows ({rails})"]

    def read() -> float:
        now = stats.newest().total
        if now is None:
            raise OSError("tegrastats no longer shows the rails")
        return now[1] / 1e3

    return [Meter(f"INA3221 {total[0]} by tegrastats, whole module", "power", read, stats.close)], []


@contextmanager
def metering(
    meters: Sequence[Meter], *, period_s: float = PERIOD_S, clock: Callable[[], float] = time.perf_counter
) -> Iterator[Metering]:
    """Read the meters in the background while the block runs; they are closed at its end."""
    state = Metering()
    readings: dict[str, list[tuple[float, float]]] = {meter.name: [] for meter in meters}
    failed: dict[str, str] = {}

    def read_all() -> None:
        for meter in meters:
            if meter.name not in failed:
                try:
                    readings[meter.name].append((clock(), meter.read()))
                except (OSError, ValueError) as error:
                    failed[meter.name] = str(error)

    ended = threading.Event()

    def keep_reading() -> None:
        while not ended.wait(period_s):
            read_all()

    read_all()
    thread = threading.Thread(target=keep_reading, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        ended.set()
        thread.join()
        read_all()
        for meter in meters:
            meter.close()
            if meter.name in failed:
                state.notes.append(f"{meter.name}: not measured, it failed under way ({failed[meter.name]})")
                continue
            energy = energy_from(meter, readings[meter.name])
            state.energies.append(energy)
            if energy.seconds < SHORTEST_S:
                state.notes.append(f"{meter.name}: {energy.seconds:.1f} s are too short to be exact; measure longer")


def energy_from(meter: Meter, readings: Sequence[tuple[float, float]]) -> Energy:
    """Return the energy between the first and the last reading.

    Args:
        meter: that was read.
        readings: two or more pairs of seconds and J or W, in order.
    """
    times_s, values = np.asarray(readings, np.float64).T
    if meter.kind == "counter":
        joules = float(values[-1] - values[0])
    else:  # straight lines between readings
        joules = float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(times_s)))
    return Energy(meter.name, meter.kind, joules, float(times_s[-1] - times_s[0]), len(readings))


def energy_figures(energy: Energy, map_px: float, gsd_m: float | None) -> list[Figure]:
    """Return what a stretch of mapping cost.

    Args:
        energy: of the stretch.
        map_px: pixels of map that it made, overlaps of tiles counted once.
        gsd_m: side of a pixel on the ground; None: nobody knows, and there are no square kilometres.
    """
    of: dict[str, str | int] = {"meter": energy.meter}
    figures = [
        Figure("energy.total", energy.joules, "J", "neither", of),
        Figure("energy.power", energy.watts, "W", "neither", of),
        Figure("energy.per_mpx", energy.joules / (map_px / 1e6), "J/Mpx", "lower", of),
    ]
    if gsd_m is not None and energy.joules > 0:
        per_km2 = energy.joules / (map_px * gsd_m**2 / 1e6)
        figures.append(Figure("energy.per_km2", per_km2, "J/km2", "lower", of))
        figures.append(Figure("energy.km2_per_wh", J_PER_WH / per_km2, "km2/Wh", "higher", of))
    return figures
