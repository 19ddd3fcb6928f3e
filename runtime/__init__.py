"""Landslide maps from scenes, without torch: `with Segmenter.open() as segmenter: segmenter.predict_scene(path)`."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Final

__all__ = [
    "Artifact",
    "BuildOptions",
    "EngineFacts",
    "FrameResult",
    "FrameStream",
    "OpenedEngine",
    "Prediction",
    "SceneOptions",
    "SceneResult",
    "Segmenter",
    "Shard",
    "ShardResult",
    "StreamSummary",
    "TensorRTEngine",
    "merge_shards",
    "open_engine",
    "open_tensorrt",
    "read_artifact",
]

if TYPE_CHECKING:
    from kda_edge.tiling.tile_answers import EngineFacts

    from .engines.artifact import Artifact, read_artifact
    from .opened_engine import OpenedEngine, open_engine
    from .results import Prediction, SceneResult, ShardResult
    from .runs.merge_shards import merge_shards
    from .runs.shards import Shard
    from .scene_options import SceneOptions
    from .segmenter import Segmenter
    from .streams.frame_stream import FrameStream
    from .streams.stream_results import FrameResult, StreamSummary
    from .tensorrt.build import BuildOptions
    from .tensorrt.tensorrt_engine import TensorRTEngine, open_tensorrt

# Where each public name is kept. No module directly in this folder may bear one of these names: once imported, it
# would be found in its place.
_MODULES: Final = {
    "Artifact": ".engines.artifact",
    "BuildOptions": ".tensorrt.build",
    "EngineFacts": "kda_edge.tiling.tile_answers",
    "FrameResult": ".streams.stream_results",
    "FrameStream": ".streams.frame_stream",
    "OpenedEngine": ".opened_engine",
    "Prediction": ".results",
    "SceneOptions": ".scene_options",
    "SceneResult": ".results",
    "Segmenter": ".segmenter",
    "Shard": ".runs.shards",
    "ShardResult": ".results",
    "StreamSummary": ".streams.stream_results",
    "TensorRTEngine": ".tensorrt.tensorrt_engine",
    "merge_shards": ".runs.merge_shards",
    "open_engine": ".opened_engine",
    "open_tensorrt": ".tensorrt.tensorrt_engine",
    "read_artifact": ".engines.artifact",
}

# Python prints the warnings of a program that has set up no logging; what is said here is for those who listen.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    """Import on first use: `kda-infer --help` passes through here and must wait for neither GDAL nor ONNX Runtime."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)
