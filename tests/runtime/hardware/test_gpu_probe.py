from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kda_edge.errors import DeviceError, NoDevice, NoDriver, TooOld
from kda_edge.runtime.hardware.gpu_probe import REFUSALS, Device, driver_release, probe


class Driver:
    """A driver's library with some GPUs; a function that is to fail has its error code in `codes`."""

    def __init__(self, *names: str, version: int = 12060, **codes: int) -> None:
        self.names, self.version, self.codes, self.called = names, version, codes, []

    def __getattr__(self, function: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.called.append(function)
            if function not in self.codes and function != "cuInit":
                getattr(self, f"_{function.lower()}")(*arguments)
            return self.codes.get(function, 0)

        return call

    def _cudevicegetcount(self, out: Any) -> None:
        out._obj.value = len(self.names)

    def _cudeviceget(self, out: Any, index: int) -> None:
        out._obj.value = 40 + index  # a handle, not an index

    def _cudevicegetname(self, out: Any, length: int, handle: int) -> None:
        out.value = self.names[handle - 40].encode()[: length - 1]

    def _cudevicetotalmem_v2(self, out: Any, handle: int) -> None:
        assert isinstance(out._obj, ctypes.c_size_t)  # an int would be overwritten past its end
        out._obj.value = (handle - 39) * 8 * 2**30

    def _cudevicegetattribute(self, out: Any, attribute: int, handle: int) -> None:
        out._obj.value = {75: 8, 76: 6 + (handle - 40)}[attribute]

    def _cudrivergetversion(self, out: Any) -> None:
        out._obj.value = self.version


def load(driver: Driver) -> Callable[[str], Any]:
    return {"libcuda.so.1": driver}.__getitem__


def refusal(driver: Driver, kind: type[DeviceError], index: int = 0) -> str:
    with pytest.raises(DeviceError) as caught:
        probe(index, load=load(driver))
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message  # what is wrong; what to do
    return message


@pytest.fixture(autouse=True)
def _all_gpus_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_device_is_told_as_its_driver_tells_it() -> None:
    device = probe(1, load=load(Driver("NVIDIA GeForce RTX 3090", "Orin", version=13020)))
    assert device == Device(1, "Orin", (8, 7), "13.2", 16 * 2**30)


def test_no_driver_library_is_a_missing_driver() -> None:
    def nothing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    with pytest.raises(NoDriver, match=r"libcuda\.so\.1 can't be loaded.*; install one, or use the CPU"):
        probe(load=nothing)


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [
        (34, NoDriver, "LD_LIBRARY_PATH"),
        (35, TooOld, "update the NVIDIA driver"),
        (36, TooOld, "update the NVIDIA driver"),
        (46, NoDevice, "compute mode"),
        (100, NoDevice, "nvidia-smi"),
        (101, NoDevice, "CUDA_VISIBLE_DEVICES"),
        (802, NoDevice, "fabric manager"),
        (803, NoDriver, "restart the machine"),
        (804, TooOld, "update the NVIDIA driver"),
        (999, NoDriver, "restart the machine"),
        (4711, NoDriver, "nvidia-smi"),
    ],
)
def test_each_answer_of_a_driver_that_does_not_start_has_its_error_and_its_remedy(
    code: int, kind: type[DeviceError], remedy: str
) -> None:
    driver = Driver("Orin", cuInit=code)
    message = refusal(driver, kind)
    assert f"error {code}" in message
    assert remedy in message.split(";", 1)[1]
    assert driver.called == ["cuInit"]  # nothing may be asked of a driver that did not start


def test_the_numbers_are_those_of_nvidias_own_bindings() -> None:
    cuda = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    names = {
        34: "CUDA_ERROR_STUB_LIBRARY",
        46: "CUDA_ERROR_DEVICE_UNAVAILABLE",
        100: "CUDA_ERROR_NO_DEVICE",
        101: "CUDA_ERROR_INVALID_DEVICE",
        802: "CUDA_ERROR_SYSTEM_NOT_READY",
        803: "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        804: "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
        999: "CUDA_ERROR_UNKNOWN",
    }
    assert {code: cuda.CUresult(code).name for code in names} == names
    assert set(names) | {35, 36} == set(REFUSALS)
    attribute = cuda.CUdevice_attribute
    assert int(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 75
    assert int(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) == 76


def test_a_driver_without_a_gpu_names_the_variable_that_hides_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CUDA_VISIBLE_DEVICES" not in refusal(Driver(), NoDevice)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES=''" in refusal(Driver(), NoDevice)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert "CUDA_VISIBLE_DEVICES='3'" in refusal(Driver("Orin", cuInit=100), NoDevice)


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are() -> None:
    assert "from 0 to 1" in refusal(Driver("a", "b"), NoDevice, index=2)


@pytest.mark.parametrize("function", ["cuDeviceGetCount", "cuDeviceGetName", "cuDeviceTotalMem_v2"])
def test_a_driver_that_fails_later_is_named_with_its_function(function: str) -> None:
    assert f"{function} gave error 700" in refusal(Driver("Orin", **{function: 700}), NoDriver)


C_DRIVER = """
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return flags; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = 7 + index; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, "GPU of a test", length); return device == 7 ? 0 : 1; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute - 70; return device == 7 ? 0 : 1; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)80 << 30; return device == 7 ? 0 : 1; }
"""


def test_the_calls_fit_a_real_c_library_of_these_signatures(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or os.name != "posix":
        pytest.skip("no C compiler to make a library with")
    source, library = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
    source.write_text(C_DRIVER)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    device = probe(load=lambda name: ctypes.CDLL(str(tmp_path / name)))
    assert device == Device(0, "GPU of a test", (5, 6), "12.6", 80 * 2**30)


def test_the_release_of_the_driver_is_what_its_module_in_the_kernel_says_and_empty_without_one(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("580.65.06\n")
    assert driver_release(tmp_path / "version") == "580.65.06"
    assert driver_release(tmp_path / "nothing") == ""
