"""Contestants of `kda-bench compare` by name; each is imported when asked for, and needs its own packages."""

from __future__ import annotations

from typing import Final

from kda_edge.errors import UsageError

from .task import Contestant, MappingTask

OURS: Final = "kda-infer"
ENGINE_ALONE: Final = "engine-alone"
MONAI: Final = "monai"
ORT_LOOP: Final = "ort-loop"
RUN_PYTORCH: Final = (MONAI, "torch-eager", "torch-compile")
PEERS: Final = (ENGINE_ALONE, ORT_LOOP, "openvino", *RUN_PYTORCH)


def open_contestant(name: str, task: MappingTask) -> Contestant:
    """Open a contestant's model and choose its settings.

    Raises:
        UsageError: no such contestant, or a checkpoint is needed and missing, or holds other weights.
        KdaEdgeError: a package is missing, or a file can't be opened.
    """
    if name == OURS:
        from .kda_infer import Ours

        return Ours(task)
    if name == ENGINE_ALONE:
        from .engine_alone import EngineAlone

        return EngineAlone(task)
    if name == ORT_LOOP:
        from .onnxruntime_loop import open_ort_loop

        return open_ort_loop(task)
    if name == "openvino":
        from .openvino_loop import open_openvino

        return open_openvino(task)
    if name == MONAI:
        from .monai import MonaiPeer

        return MonaiPeer(task)
    if name in ("torch-eager", "torch-compile"):
        from .pytorch import open_torch

        return open_torch(task, mode=name.removeprefix("torch-"))
    raise UsageError(f"there is no contestant {name!r}; give some of {', '.join(PEERS)}")
