"""Names of the engines that can run a model; loads none of them, so that a command line can ask."""

from __future__ import annotations

import importlib.util
import logging
from typing import Final

from kda_edge.errors import DeviceError, MissingDependency

ENGINES: Final = ("auto", "cpu", "openvino", "openvino-bf16", "cuda", "ort-tensorrt", "tensorrt")
OPENVINO: Final = ("openvino", "openvino-bf16")
GPU_ENGINES: Final = ("cuda", "ort-tensorrt", "tensorrt")
PROVIDERS: Final = {"cpu": "cpu", "cuda": "cuda", "ort-tensorrt": "tensorrt"}  # those that are ONNX Runtime's

_log = logging.getLogger(__name__)


def best_engine() -> str:
    """Return `tensorrt` where `auto` stands for it on this machine, else `cpu`; why it is not TensorRT is logged.

    Which engine a CPU's is depends on the model, see `cpu_engines.py`.
    """
    if importlib.util.find_spec("tensorrt") is None:
        return "cpu"
    from ..hardware.gpu_probe import probe

    try:
        probe()
    except (DeviceError, MissingDependency) as error:
        _log.info("TensorRT is installed and not used: %s", error)
        return "cpu"
    return "tensorrt"
