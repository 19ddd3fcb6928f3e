"""Energy is the counter's difference or the integral of power, named by its meter, and missing with a reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_time import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.benchmarks.sensors import energy
from kda_edge.benchmarks.sensors.conditions import conditions
from kda_edge.benchmarks.sensors.energy import (
    Energy,
    Meter,
    energy_figures,
    energy_from,
    find_meters,
    gpu_meter,
    metering,
)


def meter(kind: str, read: Callable[[], float] = lambda: 0.0, close: Callable[[], None] = lambda: None) -> Meter:
    return Meter(f"a {kind}", kind, read, close)  # type: ignore[arg-type]


@given(st.lists(st.floats(0.1, 5.0), min_size=1, max_size=20), st.floats(0.1, 500.0))
def test_constant_power_for_a_time_is_power_times_time(steps_s: list[float], watts: float) -> None:
    times = np.concatenate([[0.0], np.cumsum(steps_s)])
    found = energy_from(meter("power"), [(t, watts) for t in times])
    assert found.joules == pytest.approx(watts * times[-1])
    assert found.seconds == pytest.approx(times[-1])
    assert found.watts == pytest.approx(watts)


def test_power_that_rises_is_integrated_however_unevenly_it_is_read() -> None:
    times = np.sort(np.random.default_rng(0).uniform(0, 10, 50))
    found = energy_from(meter("power"), [(t, 5 * t) for t in times])
    assert found.joules == pytest.approx(2.5 * (times[-1] ** 2 - times[0] ** 2))


def test_a_counter_gives_its_difference() -> None:
    assert energy_from(meter("counter"), [(0.0, 100.0), (1.0, 900.0), (4.0, 160.0)]).joules == 60.0


def test_the_meters_are_read_before_during_and_after_the_block_and_closed() -> None:
    closed, read_often = [], threading.Event()
    clock = FakeClock()
    reads = 0

    def read() -> float:
        nonlocal reads
        reads += 1
        clock.pass_ms(1000)
        if reads >= 4:
            read_often.set()
        return 10.0 * reads

    with metering([meter("counter", read, lambda: closed.append(True))], period_s=0.001, clock=clock) as spent:
        assert read_often.wait(10)
        assert not spent.energies
    (found,) = spent.energies
    assert found.readings == reads >= 5
    assert found.joules == pytest.approx(10.0 * (reads - 1))
    assert found.seconds == pytest.approx(reads - 1)
    assert closed == [True]


def test_a_meter_that_fails_under_way_gives_no_figure_but_its_reason() -> None:
    answers = iter([1.0])

    def read() -> float:
        try:
            return next(answers)
        except StopIteration:
            raise OSError("the rail has gone") from None

    with metering([meter("power", read), meter("counter", lambda: 1.0)], period_s=60) as spent:
        pass
    assert [found.meter for found in spent.energies] == ["a counter"]
    assert any("a power: not measured, it failed under way (the rail has gone)" in note for note in spent.notes)


def test_a_stretch_too_short_to_be_exact_is_told() -> None:
    with metering([meter("counter", lambda: 1.0)], period_s=60) as spent:
        pass
    assert "too short" in spent.notes[0]


def test_the_meters_are_closed_when_the_work_fails() -> None:
    closed = []
    with pytest.raises(RuntimeError, match="work"), metering([meter("power", close=lambda: closed.append(1))]):
        raise RuntimeError("work")
    assert closed == [1]


def test_square_kilometres_come_from_the_side_of_a_pixel() -> None:
    """3600 J for 100 Mpx of 0.1 m: 1 km2, 1 Wh."""
    figures = {f.name: f for f in energy_figures(Energy("INA3221 VDD_IN", "power", 3600.0, 60.0, 100), 100e6, 0.1)}
    assert figures["energy.per_km2"].value == pytest.approx(3600)
    assert figures["energy.km2_per_wh"].value == pytest.approx(1)
    assert figures["energy.per_mpx"].value == pytest.approx(36)
    assert figures["energy.power"].value == pytest.approx(60)
    assert {f.of["meter"] for f in figures.values()} == {"INA3221 VDD_IN"}
    without = {f.name for f in energy_figures(Energy("x", "power", 3600.0, 60.0, 100), 100e6, None)}
    assert without == {"energy.total", "energy.power", "energy.per_mpx"}


class FakeGpu:
    name = "a GPU"

    def __init__(self, joules: float | None, watts: float | None) -> None:
        self.joules, self.watts = joules, watts

    def energy_j(self) -> float | None:
        return self.joules

    def power_w(self) -> float | None:
        return self.watts


def test_a_gpus_counter_goes_before_its_power_and_neither_is_none() -> None:
    both, power = gpu_meter(FakeGpu(5.0, 100.0)), gpu_meter(FakeGpu(None, 100.0))  # type: ignore[arg-type]
    assert both is not None
    assert (both.kind, both.read()) == ("counter", 5.0)
    assert power is not None
    assert (power.kind, power.read()) == ("power", 100.0)
    assert gpu_meter(FakeGpu(None, None)) is None  # type: ignore[arg-type]


def test_a_gpu_that_no_longer_tells_is_an_error_and_not_zero() -> None:
    gpu = FakeGpu(5.0, None)
    found = gpu_meter(gpu)  # type: ignore[arg-type]
    assert found is not None
    gpu.joules = None
    with pytest.raises(OSError, match="no longer"):
        found.read()


def test_what_is_not_measured_is_said() -> None:
    meters, notes = find_meters("cpu")
    for found in meters:
        found.close()
    assert meters or any("not measured" in note for note in notes)


JETSON = """#!/bin/sh
trap 'exit 0' TERM
while true; do
  echo "RAM 2913/7620MB (lfb 2x4MB) CPU [14%@1510] GR3D_FREQ 61% tj@48.5C {rails}"
  sleep 0.02
done
"""


@pytest.mark.parametrize(
    ("rails", "name"),
    [
        ("VDD_IN 7423mW/5301mW VDD_SOC 1711mW/1502mW", "INA3221 VDD_IN by tegrastats, whole module"),
        ("VDD_X 1mW/1mW", None),
    ],
)
def test_on_a_jetson_the_rail_of_the_whole_module_is_the_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rails: str, name: str | None
) -> None:
    """A program called tegrastats that prints as the real one does."""
    command = tmp_path / "tegrastats"
    command.write_text(JETSON.format(rails=rails))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    recorded = conditions("cpu")["tegrastats"]
    assert (recorded["gpu_load"], recorded["temperatures_c"]) == (0.61, {"tj": 48.5})
    meters, notes = find_meters("tensorrt")
    if name is None:
        assert not meters
        assert "no rail of the whole module is known among those it shows (VDD_X)" in notes[0]
        return
    assert not notes
    with metering(meters, period_s=0.05) as spent:
        threading.Event().wait(0.2)
    (found,) = spent.energies
    assert found.meter == name
    assert found.watts == pytest.approx(7.423)
    assert energy.PERIOD_S > 0
