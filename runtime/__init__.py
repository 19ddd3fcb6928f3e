"""Landslide maps from scenes, without torch: `with Segmenter.open() as segmenter: segmenter.predict_scene(path)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["Prediction", "SceneResult", "Segmenter"]

if TYPE_CHECKING:
    from .results import Prediction, SceneResult
    from .segmenter import Segmenter


def __getattr__(name: str) -> object:
    """Import on first use: `kda-infer --help` passes through here and must wait for neither GDAL nor ONNX Runtime."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import results, segmenter

    return getattr(segmenter if name == "Segmenter" else results, name)
