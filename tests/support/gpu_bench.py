"""A simulated device with TensorRT and a CUDA library on it, and a runner to put there."""

from __future__ import annotations

from typing import Any

import numpy as np
from fake_cuda import SimulatedGpu
from fake_cuda_libraries import FakePycuda, FakeRuntime
from fake_tensorrt_run import FakeLogger, FakeTensorrt, expected, plan_of

from kda_edge.runtime.hardware.cuda import Cuda
from kda_edge.runtime.hardware.cuda_bindings import CudaBindings
from kda_edge.runtime.hardware.cuda_pycuda import Pycuda
from kda_edge.runtime.tensorrt.library import Library
from kda_edge.runtime.tensorrt.runner import TensorRTRunner

KINDS = (("10.3.0", "cuda-bindings"), ("11.4.0", "cuda-bindings"), ("10.3.0", "pycuda"))
SIDE_PX = 8


class Bench:
    """A simulated device with TensorRT and a CUDA library on it."""

    def __init__(self, version: str = "10.3.0", library: str = "cuda-bindings", **fails: tuple[int, int]) -> None:
        self.gpu = SimulatedGpu()
        self.module: Any = FakePycuda(self.gpu) if library == "pycuda" else FakeRuntime(self.gpu, fails=fails)
        self.cuda: Cuda = Pycuda(self.module) if library == "pycuda" else CudaBindings(self.module)
        self.trt = FakeTensorrt(self.gpu, self.module, version)
        self.library = Library(self.trt, version, FakeLogger())

    def runner(
        self, *, tile_px: int = SIDE_PX, graphs: bool = True, dla_core: int | None = None, **facts: Any
    ) -> TensorRTRunner:
        plan = plan_of(tile_px, **facts)
        return TensorRTRunner(plan, self.library, self.cuda, tile_px=tile_px, dla_core=dla_core, graphs=graphs)


def tiles_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, SIDE_PX, SIDE_PX)).astype(np.float32)


def assert_right(answer: np.ndarray, tiles: np.ndarray) -> None:
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected(tiles), rtol=1e-6)
