"""Landslide maps from scenes, without torch: `with Segmenter.open() as segmenter: segmenter.predict_scene(path)`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

__all__ = ["FrameResult", "FrameStream", "Prediction", "SceneResult", "Segmenter", "StreamSummary"]

if TYPE_CHECKING:
    from .results import Prediction, SceneResult
    from .segmenter import Segmenter
    from .streams.frame_stream import FrameStream
    from .streams.stream_results import FrameResult, StreamSummary


# Python prints the warnings of a program that has set up no logging; what is said here is for those who listen.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    """Import on first use: `kda-infer --help` passes through here and must wait for neither GDAL nor ONNX Runtime."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import results, segmenter
    from .streams import frame_stream as stream

    return next(getattr(module, name) for module in (segmenter, stream, results) if hasattr(module, name))
