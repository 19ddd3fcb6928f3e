"""The work of a graph is counted as by hand, and published peaks give bounds that are called estimates."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_time import FakeClock
from onnx_graphs import parsed

from kda_edge.benchmarks.commands.device_profiles import DeviceProfile, profile_names, read_profile
from kda_edge.benchmarks.commands.roofline import Peaks, best_s, estimates_of, figures_of
from kda_edge.benchmarks.measuring.operation_counts import Work, work_of
from kda_edge.benchmarks.measuring.timing import TimingPlan, measured
from kda_edge.errors import ArtifactError, UsageError
from kda_edge.runtime.engines.artifact import read_artifact


def saved(path: Path, body: str, made: str, **constants: np.ndarray) -> Path:
    onnx.save(parsed(body, given="float[batch,3,8,8] image", made=made, constants=constants), path)
    return path


def macs_of_convolution(out_channels: int, in_channels: int, kernel: int, groups: int, side: int, stride: int) -> int:
    """Multiplications, one by one, of a convolution padded so that its side is divided by the stride."""
    count = 0
    for _ in product(range(out_channels), range(side // stride), range(side // stride)):
        for _ in product(range(in_channels // groups), range(kernel), range(kernel)):
            count += 1
    return count


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (1, 2), (3, 1)])
def test_a_convolution_is_counted_as_its_loops(tmp_path: Path, groups: int, stride: int) -> None:
    side = 8 // stride
    path = saved(
        tmp_path / "conv.onnx",
        f"y = Conv<pads=[1,1,1,1], group={groups}, strides=[{stride},{stride}]>(image, w)",
        f"float[batch,6,{side},{side}] y",
        w=np.zeros((6, 3 // groups, 3, 3), np.float32),
    )
    expected = macs_of_convolution(6, 3, 3, groups, 8, stride)
    weights = 6 * (3 // groups) * 9
    assert work_of(path) == Work(2 * expected, 4 * (weights + 3 * 64 + 6 * side * side))


def test_matrix_products_and_transposed_convolutions_are_counted(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "mixed.onnx",
        """a = MatMul(image, m)
        b = ConvTranspose<strides=[2,2]>(a, w)
        """,
        "float[batch,2,16,10] b",
        m=np.zeros((8, 5), np.float32),
        w=np.zeros((3, 2, 2, 2), np.float32),
    )
    product_macs = 3 * 8 * 5 * 8  # each of 3 x 8 x 5 outputs is a sum of 8
    transposed_macs = 3 * 8 * 5 * 2 * 2 * 2  # each input is spread over 2 channels of 2 x 2
    assert work_of(path).flops == 2 * (product_macs + transposed_macs)


def test_a_gemm_counts_its_inner_side_whichever_way_it_lies(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "gemm.onnx",
        """flat = Flatten(image)
        y = Gemm<transB=1>(flat, w)
        """,
        "float[batch,7] y",
        w=np.zeros((7, 192), np.float32),
    )
    assert work_of(path).flops == 2 * 7 * 192


def test_half_weights_weigh_half(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "half.onnx",
        """h = Cast<to=10>(image)
        y = MatMul(h, m)
        z = Cast<to=1>(y)
        """,
        "float[batch,3,8,8] z",
        m=np.zeros((8, 8), np.float16),
    )
    assert work_of(path).least_bytes == 2 * 64 + 2 * 4 * 192


def test_a_shape_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "open.onnx",
        """k = NonZero(image)
        f = Cast<to=1>(k)
        t = Transpose(f)
        y = MatMul(f, t)
        z = Flatten<axis=0>(y)
        """,
        "float[one,many] z",
    )
    with pytest.raises(ArtifactError, match=r"the shape of .* is not known"):
        work_of(path)


def test_the_bundled_students_weights_are_the_least_that_is_moved() -> None:
    """Of the four numbers of a channel's batch norm and its convolution none but a bias is left in the graph."""
    artifact = read_artifact()
    work = work_of(artifact.path)
    tile_px = artifact.manifest.tile_px
    unfolded = 4 * (artifact.manifest.parameters + 4 * tile_px**2)
    assert 0.95 * unfolded < work.least_bytes < 1.05 * unfolded
    assert 0.5e9 < work.flops < 5e9


@pytest.mark.parametrize("name", profile_names())
def test_each_profile_reads_and_names_its_source(name: str) -> None:
    profile = read_profile(name)
    assert len(profile.source) > 10
    if profile.peak_tflops:
        assert "NVIDIA" in profile.source
        assert profile.peak_tflops["fp32"] < profile.peak_tflops["fp16"] < profile.peak_tflops["int8"]
        assert profile.bandwidth_gb_s is not None
        assert profile.tdp_w is not None


@pytest.mark.parametrize(
    ("name", "cuda_cores", "tensor_cores", "ghz", "int8_a_clock"),
    [
        ("orin-agx", 2048, 64, 1.3, 1024),
        ("orin-nano", 1024, 32, 0.625, 1024),
        ("orin-nx", 1024, 32, 0.918, 1024),
        ("rtx3090", 10496, 328, 1.695, 512),
    ],
)
def test_peaks_are_cores_times_clock_dense_and_of_the_gpu_alone(
    name: str, cuda_cores: int, tensor_cores: int, ghz: float, int8_a_clock: int
) -> None:
    """A core does 2 operations a clock in FP32; a tensor core of Orin does twice as many as one of a GeForce."""
    peaks = read_profile(name).peak_tflops
    assert peaks["fp32"] == pytest.approx(2 * cuda_cores * ghz / 1e3, rel=0.01)
    assert peaks["int8"] == pytest.approx(tensor_cores * int8_a_clock * ghz / 1e3, rel=0.03)
    assert peaks["fp16"] == peaks["int8"] / 2


def test_the_profiles_of_the_issue_are_there_and_others_are_refused() -> None:
    assert profile_names() == ["cpu", "h100-sxm", "orin-agx", "orin-nano", "orin-nx", "rtx3090"]
    with pytest.raises(UsageError, match="give one of cpu, h100-sxm"):
        read_profile("tpu")


@pytest.mark.parametrize("broken", [{"peak_tflops": {"fp8": 1.0}}, {"tdp_w": 0.0}, {"source": ""}])
def test_what_is_no_profile_is_refused(broken) -> None:
    fields = {"name": "x", "title": "X", "source": "s", "peak_tflops": {}, "bandwidth_gb_s": None, "tdp_w": None}
    with pytest.raises(ValueError, match="x"):
        DeviceProfile(**({"compute": ""} | fields | broken))


def test_a_bound_is_the_later_of_arithmetic_and_memory() -> None:
    profile = DeviceProfile("x", "X", "s", {"fp32": 2.0}, 100.0, None, "")
    assert profile.least_ms(4 * 10**9, 10**6, "fp32") == pytest.approx(2.0)
    assert profile.least_ms(10**6, 5 * 10**8, "fp32") == pytest.approx(5.0)
    assert profile.least_ms(1, 1, "int8") is None
    assert Peaks(2000.0, 100.0).least_ms(Work(4 * 10**9, 10**6)) == pytest.approx(2.0)


def test_devices_that_are_not_here_get_estimates_and_no_figures() -> None:
    found = estimates_of(Work(10**9, 10**7), "fp16")
    assert [e.of["device"] for e in found] == ["h100-sxm", "orin-agx", "orin-nano", "orin-nx", "rtx3090"]
    assert all("not measured" in e.method and "lower bound" in e.method for e in found)


def test_the_share_of_a_limit_is_the_bound_over_the_measured_median() -> None:
    clock = FakeClock()
    timing = measured(lambda: clock.pass_ms(8.0), TimingPlan(min_calls=60), clock=clock)
    work, profile = Work(4 * 10**9, 10**6), DeviceProfile("x", "X", "s", {"fp32": 4.0}, 100.0, None, "")
    found = {f.name: f for f in figures_of(work, timing, "cpu", "fp32", peaks=Peaks(2000.0, 100.0), profile=profile)}
    assert found["engine.gflops"].value == pytest.approx(500)
    assert found["share.of_measured_limit"].value == pytest.approx(0.25)
    assert found["share.of_published_limit"].value == pytest.approx(0.125)


def test_a_peak_is_the_best_of_several_calls_and_the_first_does_not_count() -> None:
    clock = FakeClock()
    durations = iter([1.0, 9.0, 4.0, 6.0])
    assert best_s(lambda: clock.pass_ms(next(durations)), clock=clock, repeats=3) == pytest.approx(4e-3)
