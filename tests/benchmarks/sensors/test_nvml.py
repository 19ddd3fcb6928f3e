"""What NVIDIA's driver answers is brought into units and words, and what it does not offer is missing, not zero."""

from __future__ import annotations

import ast
import os
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from kda_edge.benchmarks.sensors.nvml import CLOCK_REASONS, Gpu, find_gpu, reasons_from
from kda_edge.benchmarks.sensors.peak_memory import device_memory
from kda_edge.benchmarks.sensors.tegrastats import TegraSample

# What a call answers, as nvidia-ml-py returns it; `!` is an NVMLError of that number. Written from the NVML reference.
RTX_3090 = """
nvmlDeviceGetTotalEnergyConsumption 1234567890
nvmlDeviceGetPowerUsage 287340
nvmlDeviceGetPowerManagementLimit 350000
nvmlDeviceGetTemperature 71
nvmlDeviceGetClockInfo 1695
nvmlDeviceGetCurrentClocksThrottleReasons 4
nvmlDeviceGetComputeRunningProcesses [(41, 999424), (42, 1610612736)]
nvmlDeviceGetMemoryInfo 3221225472
"""
ORIN = """
nvmlDeviceGetTotalEnergyConsumption !3
nvmlDeviceGetPowerUsage !3
nvmlDeviceGetPowerManagementLimit !3
nvmlDeviceGetTemperature !3
nvmlDeviceGetClockInfo !3
nvmlDeviceGetCurrentClocksThrottleReasons !3
nvmlDeviceGetComputeRunningProcesses !3
nvmlDeviceGetMemoryInfo !3
"""


def replayed(record: str) -> Gpu:
    answers = dict(line.split(maxsplit=1) for line in record.strip().splitlines())

    def call(name: str) -> Any:
        def answer(handle: Any, *_: Any) -> Any:
            assert handle == "handle"
            text = answers[name]
            if text.startswith("!"):
                raise pynvml.NVMLError(int(text[1:]))
            value = ast.literal_eval(text)
            if name.endswith("MemoryInfo"):
                return SimpleNamespace(used=value)
            return [SimpleNamespace(pid=p, usedGpuMemory=m) for p, m in value] if isinstance(value, list) else value

        return answer

    constants = {name: getattr(pynvml, name) for name in ("NVML_TEMPERATURE_GPU", "NVML_CLOCK_SM", "NVML_CLOCK_MEM")}
    module = SimpleNamespace(NVMLError=pynvml.NVMLError, **constants, **{name: call(name) for name in answers})
    return Gpu(module, "handle", "NVIDIA GeForce RTX 3090")


def test_what_nvml_answers_is_brought_into_units() -> None:
    gpu = replayed(RTX_3090)
    assert gpu.energy_j() == pytest.approx(1234567.890)
    assert gpu.power_w() == pytest.approx(287.34)
    assert gpu.power_limit_w() == pytest.approx(350)
    assert (gpu.temperature_c(), gpu.clock_mhz()) == (71, 1695)
    assert gpu.clock_reasons() == ("software power cap",)
    assert gpu.is_throttled() is True
    assert gpu.memory_mb(42) == pytest.approx(1610.612736)
    assert gpu.memory_mb(43) is None
    assert gpu.memory_of_all_mb() == pytest.approx(3221.225472)


def test_what_a_gpu_does_not_offer_is_missing_and_no_error() -> None:
    gpu = replayed(ORIN)
    assert gpu.state() == {"name": "NVIDIA GeForce RTX 3090"}
    assert gpu.energy_j() is None
    assert gpu.is_throttled() is None
    assert gpu.memory_mb(1) is None


def test_device_memory_is_this_process_then_everybodys_then_what_a_jetson_shares() -> None:
    jetson = TegraSample({}, {}, ram_used_mb=1000)
    mine = RTX_3090.replace("(42,", f"({os.getpid()},")
    assert device_memory(lambda: replayed(mine), lambda: jetson) == ("memory.device", pytest.approx(1610.612736))
    everybodys = ("memory.device_of_all", pytest.approx(3221.225472))
    assert device_memory(lambda: replayed(RTX_3090), lambda: jetson) == everybodys
    shared = ("memory.device_of_all", pytest.approx(1048.576))
    assert device_memory(lambda: replayed(ORIN), lambda: jetson) == shared
    assert device_memory(lambda: "no driver", lambda: None) is None


def test_the_reasons_are_nvmls_bits_and_an_unknown_bit_is_told() -> None:
    names = {
        "idle": "nvmlClocksThrottleReasonGpuIdle",
        "software power cap": "nvmlClocksThrottleReasonSwPowerCap",
        "hardware slowdown": "nvmlClocksThrottleReasonHwSlowdown",
        "software thermal slowdown": "nvmlClocksThrottleReasonSwThermalSlowdown",
        "hardware thermal slowdown": "nvmlClocksThrottleReasonHwThermalSlowdown",
        "hardware power brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
    }
    by_word = {word: bit for bit, word in CLOCK_REASONS.items()}
    assert {word: by_word[word] for word in names} == {word: getattr(pynvml, name) for word, name in names.items()}
    assert reasons_from(0) == ()
    assert reasons_from(0x1020) == ("software thermal slowdown", "bits 0x1000")


def nvml_with(gpus: int) -> SimpleNamespace:
    return SimpleNamespace(
        NVMLError=pynvml.NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: gpus,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: f"GPU {handle}",
    )


def test_of_several_gpus_the_one_that_cuda_uses_must_be_known() -> None:
    assert find_gpu(lambda _: nvml_with(0), {}) == "NVML: the driver shows no GPU"
    one, by_order = (
        find_gpu(lambda _: nvml_with(1), {}),
        {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1,0"},
    )
    assert isinstance(one, Gpu)
    assert "2 GPUs; choose one" in str(find_gpu(lambda _: nvml_with(2), {"CUDA_VISIBLE_DEVICES": "1"}))
    second = find_gpu(lambda _: nvml_with(2), by_order)
    assert isinstance(second, Gpu)
    assert second.name == "GPU 1"


def test_without_the_package_or_the_driver_the_reason_is_told() -> None:
    def missing(_: str) -> Any:
        raise ModuleNotFoundError

    assert "pip install 'kda-edge[bench]'" in str(find_gpu(missing, {}))
    broken = nvml_with(1)
    broken.nvmlInit = lambda: (_ for _ in ()).throw(pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert str(find_gpu(lambda _: broken, {})).startswith("NVML: ")
