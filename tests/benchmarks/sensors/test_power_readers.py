"""What a Jetson says of its rails and the processor of its counters is understood, and what neither says is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.benchmarks.sensors.conditions import power_mode
from kda_edge.benchmarks.sensors.rapl import find_rapl, spent_uj
from kda_edge.benchmarks.sensors.tegrastats import Tegrastats, sample_from

# As the Jetson Linux Developer Guide describes the line; written after it, not copied from a device.
AGX_ORIN_JETPACK5 = (
    "RAM 4722/30588MB (lfb 5743x4MB) SWAP 0/15294MB (cached 0MB) CPU [12%@2201,0%@2201,5%@729,off,off,0%@2201] "
    "EMC_FREQ 3%@3199 GR3D_FREQ 97%@[1300,1300] VIC_FREQ 729 APE 174 CV0@-256C CPU@52.9C Tboard@41C SOC2@49.1C "
    "Tdiode@44.75C SOC0@50.6C CV1@-256C GPU@49.2C tj@52.9C SOC1@49.5C CV2@-256C VDD_GPU_SOC 17034mW/9480mW "
    "VDD_CPU_CV 1590mW/1192mW VIN_SYS_5V0 6048mW/5140mW NC 0mW/0mW VDDQ_VDD2_1V8AO 1713mW/1205mW NC 0mW/0mW"
)
ORIN_NANO_JETPACK6 = (
    "08-12-2025 10:15:01 RAM 2913/7620MB (lfb 2x4MB) SWAP 104/3810MB (cached 0MB) CPU [14%@1510,9%@1510,0%@729,0%@729,"
    "off,off] GR3D_FREQ 61% cpu@48.343C soc2@47.5C soc0@46.906C gpu@48.562C tj@48.562C soc1@47.187C "
    "VDD_IN 7423mW/5301mW VDD_CPU_GPU_CV 2860mW/1433mW VDD_SOC 1711mW/1502mW"
)
NANO_JETPACK4 = (
    "RAM 1409/3964MB (lfb 3x4MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [5%@1479,2%@1479,1%@1479,0%@1479] EMC_FREQ 1%@1600 GR3D_FREQ 99%@921 "
    "APE 25 PLL@35C CPU@38C PMIC@100C GPU@36.5C AO@43C thermal@37.25C "
    "POM_5V_IN 5420/4210 POM_5V_GPU 1905/900 POM_5V_CPU 610/580"
)


def test_a_line_of_an_agx_orin_is_understood_and_its_three_rails_are_its_power() -> None:
    sample = sample_from(AGX_ORIN_JETPACK5)
    assert sample is not None
    assert sample.rails_mw["VDD_GPU_SOC"] == 17034
    assert sample.total == ("VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", 17034 + 1590 + 6048)
    assert (sample.ram_used_mb, sample.ram_mb) == (4722, 30588)
    assert (sample.gpu_load, sample.gpu_mhz, sample.memory_mhz) == (0.97, 1300, 3199)
    assert sample.cpu_mhz == (2201, 2201, 729, 2201)
    assert sample.temperatures_c["tj"] == 52.9
    assert "CV0" not in sample.temperatures_c, "a sensor whose part is off shows -256"


def test_a_line_of_an_orin_nano_is_understood_and_its_input_is_its_power() -> None:
    sample = sample_from(ORIN_NANO_JETPACK6)
    assert sample is not None
    assert sample.rails_mw == {"VDD_IN": 7423, "VDD_CPU_GPU_CV": 2860, "VDD_SOC": 1711}
    assert sample.total == ("VDD_IN", 7423)
    assert (sample.gpu_load, sample.gpu_mhz, sample.memory_mhz) == (0.61, None, None)
    assert sample.temperatures_c["gpu"] == 48.562


def test_a_line_without_units_is_in_milliwatts() -> None:
    sample = sample_from(NANO_JETPACK4)
    assert sample is not None
    assert sample.total == ("POM_5V_IN", 5420)
    assert sample.gpu_mhz == 921
    assert set(sample.rails_mw) == {"POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"}, "neither memory nor swap is a rail"


def test_rails_that_nobody_knows_have_no_sum() -> None:
    sample = sample_from("RAM 1/2MB CPU [0%@1] VDD_NEW 5mW/5mW")
    assert sample is not None
    assert sample.rails_mw == {"VDD_NEW": 5}
    assert sample.total is None


@given(st.text(max_size=80))
def test_whatever_else_is_printed_is_no_sample_and_no_crash(line: str) -> None:
    if "RAM" not in line:
        assert sample_from(line) is None


def test_tegrastats_gives_its_newest_line_and_says_when_it_has_fallen_silent() -> None:
    now, printed, ended = [0.0], threading.Event(), threading.Event()

    def lines() -> Iterator[str]:
        yield "Password for admin:"
        yield ORIN_NANO_JETPACK6
        yield ORIN_NANO_JETPACK6.replace("VDD_IN 7423", "VDD_IN 9999")
        printed.set()
        ended.wait(5)

    stats = Tegrastats(lambda: (lines(), ended.set), clock=lambda: now[0])
    assert printed.wait(5)
    assert stats.newest().rails_mw["VDD_IN"] == 9999
    now[0] = 60.0
    with pytest.raises(OSError, match="fallen silent"):
        stats.newest()
    stats.close()
    assert ended.is_set()


def test_tegrastats_that_says_nothing_is_an_error_and_is_ended() -> None:
    ended = threading.Event()
    with pytest.raises(OSError, match="no line that can be read"):
        Tegrastats(lambda: (["nonsense"], ended.set))
    assert ended.is_set()


@pytest.mark.parametrize(
    ("printed", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN"),
        ("NVPM WARN: fan mode\nNV Power Mode: 15W\n0", "15W"),
        ("", None),
    ],
)
def test_the_power_mode_is_read(printed: str, mode: str | None) -> None:
    assert power_mode(lambda: printed) == mode


def rapl_folder(root: Path, name: str, label: str, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir()
    for file, value in (("name", label), ("energy_uj", energy_uj), ("max_energy_range_uj", range_uj)):
        (folder / file).write_text(f"{value}\n")
    return folder


def test_rapl_counts_packages_only_and_on_past_its_own_range(tmp_path: Path) -> None:
    folder = rapl_folder(tmp_path, "intel-rapl:0", "package-0", 900_000)
    rapl_folder(tmp_path, "intel-rapl:0:0", "core", 5)
    rapl_folder(tmp_path, "intel-rapl-mmio:0", "package-0", 5)  # the same package by another way
    rapl_folder(tmp_path, "intel-rapl:1", "psys", 5)
    counters = find_rapl(tmp_path)
    assert not isinstance(counters, str)
    (counter,) = counters
    assert counter.name == "RAPL package-0 (intel-rapl:0)"
    for reading, total_j in ((950_000, 0.05), (20_000, 0.12), (20_000, 0.12), (10_000, 1.11)):
        (folder / "energy_uj").write_text(str(reading))
        assert counter.energy_j() == pytest.approx(total_j)


@given(st.integers(0, 999), st.integers(0, 999))
def test_what_is_spent_lies_within_one_range_and_ends_at_the_reading(before_uj: int, spent: int) -> None:
    assert spent_uj(before_uj, (before_uj + spent) % 1000, 1000) == spent


def test_where_rapl_is_not_there_or_not_allowed_the_reason_is_told(tmp_path: Path) -> None:
    assert "no energy counter" in str(find_rapl(tmp_path))
    folder = rapl_folder(tmp_path, "intel-rapl:0", "package-0", 1)
    (folder / "energy_uj").write_text("broken")
    assert "can't be read" in str(find_rapl(tmp_path))
